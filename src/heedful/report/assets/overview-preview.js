// One head of the overview, larger, with all its numbers.
import { element, userText } from "./dom.js";
import { numberName, numberOf, presentNumbers, valueWords } from "./head-numbers.js";
import { kindOf } from "./heads.js";
import { aspectOfLayer, drawThumbnail } from "./overview-thumbnail.js";

// Its position and its size stay the same.
export function previewPanel(context) {
  const canvas = element("canvas", { class: "overview-large", role: "img", "aria-label": "Enlarged map of the head" });
  const title = element("p", { class: "overview-title" });
  const kinds = element("p", { class: "note overview-kinds" });
  const numbers = element("dl", { class: "overview-numbers" });
  const values = presentNumbers(context.layers).map((name) => {
    const value = element("dd");
    numbers.append(element("div", {}, element("dt", { text: numberName(name) }), value));
    return [name, value];
  });
  let serial = 0;
  let shown = null;
  return {
    element: element("div", { class: "overview-preview" }, element("div", { class: "overview-stand" }, canvas), element("div", { class: "overview-words" }, title, kinds, numbers)),
    async show(layer, head) {
      const key = [layer.index, head, context.state.scale, canvas.clientWidth].join();
      if (key === shown) return;
      shown = key;
      title.replaceChildren(userText(layer.label), `, head ${head}`);
      kinds.replaceChildren(...[userText(layer.kind), kindOf(layer, head) === null ? null : ` \u00b7 ${kindOf(layer, head)}`].filter(Boolean));
      for (const [name, value] of values) value.textContent = valueWords(name, numberOf(layer, head, name));
      const mine = ++serial;
      const map = await layer.map([head]).catch(() => null);
      if (mine !== serial || map === null) return;
      canvas.style.aspectRatio = String(1 / aspectOfLayer(layer));
      if (!drawThumbnail(canvas, layer, map, context.state.scale)) shown = null;
    },
  };
}
