// The heads that were found to be of a known kind, as a list of kinds.
import { element } from "./dom.js";
import { number } from "./format.js";

// Each kind: its name, what it is, and the number that is its score.
const KINDS = {
  previous: ["previous token", "attends one position back"],
  current: ["current token", "attends to the query's own position"],
  next: ["next token", "attends one position ahead"],
  first: ["first token", "attends to the first key (an attention sink)"],
  same: ["duplicate token", "attends to other occurrences of the query's token"],
  induction: ["induction", "attends to the token after an earlier occurrence of the query's token"],
  separator: ["separator", "attends to separators"],
  local: ["local", "attends to nearby positions"],
  uniform: ["uniform", "attends to all keys about equally"],
  alignment: ["alignment", "moves along the keys as the queries advance"],
};
const MOST = 12; // heads of a kind that are shown before all of them are asked for

// All heads of all kinds, the best score first: { kind: [{ layer, head, score }] }.
function headsOfKinds(layers) {
  const found = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, []]));
  for (const layer of layers) {
    layer.kinds.forEach((kind, head) => Object.hasOwn(found, kind) && found[kind].push({ layer, head, score: layer.numbers[kind]?.[head] ?? null }));
  }
  for (const heads of Object.values(found)) heads.sort((a, b) => (b.score ?? 0) - (a.score ?? 0));
  return found;
}

// The list; `open(layer, head)` shows one head.
export function kindsList(layers, open) {
  const title = element("h3", { text: "Kinds of heads" });
  if (!layers.some((layer) => layer.kinds.length > 0)) {
    return element("div", {}, title, element("p", { class: "note", text: "The heads of this section were not classified." }));
  }
  const found = headsOfKinds(layers);
  const list = element("dl", { class: "layers-kinds" });
  for (const [kind, [name, words]] of Object.entries(KINDS)) {
    const heads = element("dd", { class: "layers-heads" });
    showHeads(heads, found[kind], isScored(layers, kind), open, MOST);
    const term = element("dt", {}, element("strong", { text: name }), element("span", { class: "note", text: words }));
    list.append(element("div", {}, term, heads));
  }
  const other = layers.reduce((sum, layer) => sum + layer.kinds.filter((kind) => !Object.hasOwn(KINDS, kind)).length, 0);
  const rest = element("p", { class: "note", text: `Other: ${number(other)} of ${number(layers.reduce((sum, layer) => sum + layer.kinds.length, 0))} heads. Numbers are scores from 0 to 1.` });
  return element("div", {}, title, list, rest);
}

function showHeads(list, heads, isTried, open, most) {
  if (heads.length === 0) {
    list.replaceChildren(element("span", { class: "note", text: isTried ? "none found" : "none found (no score for this kind)" }));
    return;
  }
  const buttons = heads.slice(0, most).map(({ layer, head, score }) =>
    element(
      "button",
      { type: "button", class: "layers-head", title: "Open in the map", on: { click: () => open(layer, head) } },
      `${layer.label}, head ${head} `,
      score === null ? null : element("span", { class: "layers-score", text: number(score) }),
    ),
  );
  list.replaceChildren(...buttons);
  if (heads.length <= most) return;
  const all = () => {
    showHeads(list, heads, isTried, open, Infinity);
    list.children[most].focus();
  };
  list.append(element("button", { type: "button", class: "layers-all", text: `${heads.length - most} more`, on: { click: all } }));
}

function isScored(layers, kind) {
  return layers.some((layer) => layer.numbers[kind]?.some((score) => score !== null));
}
