// What is compared: the heads chosen for the section stand on the left, and a bar of controls says what stands on the right.
import { element, picker } from "./dom.js";
import { headsOf, nameWithKind } from "./heads.js";
import { shortened } from "./positions.js";

const MOST_LETTERS = 48; // of a title

export function shortTitle(title) {
  return shortened(title, MOST_LETTERS);
}

// Each side is { page, layer, words, heads }: a section, one of its layers, and heads as the address and as numbers.
export function compareSides(context) {
  const pickers = {
    section: picker("Section", [], (section) => choose({ section }), { "aria-label": "Section on the right" }),
    layer: picker("Layer", [], (layer) => choose({ layer }), { "aria-label": "Layer on the right" }),
    head: picker("Head", [], (head) => choose({ head }), { "aria-label": "Head on the right" }),
  };
  const swap = element("button", { type: "button", text: "Swap", title: "Swap left and right", on: { click: exchange } });
  const bar = [element("span", { class: "compare-with", text: "Right:" }), ...Object.values(pickers).map((one) => one.element), swap];

  function left() {
    return { page: context, layer: context.layer(), words: context.state.head, heads: context.heads() };
  }

  // What the address names, or else the same head of a section with the same layers, or else the next head.
  function right() {
    const [section, layer, ...rest] = (context.state.with ?? "").split(":");
    const page = context.pages.find((one) => one.id === `section-${section}`);
    if (page === undefined || !/^\d+$/.test(layer) || page.layers[layer] === undefined || rest.length === 0) return usual();
    return sideOf(page, page.layers[layer], rest.join(":"));
  }

  function usual() {
    const [layer, { head }] = [context.layer(), context.state];
    const other = context.pages.find((page) => page !== context && page.layers.length === context.layers.length && page.layers.every((one, i) => one.name === context.layers[i].name));
    if (other) return sideOf(other, other.layers[layer.index], head);
    const next = context.heads().length > 1 ? 0 : (context.heads()[0] + 1) % layer.heads;
    return sideOf(context, layer, String(next));
  }

  function sideOf(page, layer, words) {
    const heads = headsOf(layer, words);
    return { page, layer, words: heads.length === layer.heads && layer.heads > 1 ? "mean" : heads.join(), heads };
  }

  function choose({ section, layer, head }) {
    const now = right();
    const page = context.pages.find((one) => one.id === (section ?? now.page.id)) ?? now.page;
    const at = page.layers[layer ?? now.layer.index] ? (layer ?? now.layer.index) : 0;
    context.set({ with: address({ page, layer: page.layers[at], words: head ?? now.words }) });
  }

  function address({ page, layer, words }) {
    return `${page.id.replace("section-", "")}:${layer.index}:${words}`;
  }

  function exchange() {
    const { layer, words } = right();
    context.set({ layer: String(layer.index), head: words, with: address(left()) });
  }

  return {
    bar,
    both: () => ({ left: left(), right: right() }),
    show({ page, layer, words }) {
      const titles = context.pages.map((one) => [one.id, one === context ? "this section" : shortTitle(one.section.title)]);
      pickers.section.setOptions(titles);
      pickers.section.show(page.id);
      pickers.section.element.hidden = titles.length < 2;
      pickers.layer.setOptions(page.layers.map((one) => [String(one.index), nameWithKind(one)]));
      pickers.layer.show(String(layer.index));
      const heads = Array.from({ length: layer.heads }, (_, head) => [String(head), String(head)]);
      if (layer.heads > 1) heads.unshift(["mean", `mean of ${layer.heads}`]);
      if (!heads.some(([key]) => key === words)) heads.push([words, words]);
      pickers.head.setOptions(heads);
      pickers.head.show(words);
      swap.disabled = page !== context;
    },
  };
}
