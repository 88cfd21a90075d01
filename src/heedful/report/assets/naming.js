// Names of heads, and of single positions and stretches of them.
import { span, whole } from "./dom.js";
import { placeLabel, placeText, placeWords, shortened } from "./places.js";

const MOST_LETTERS = 60;

// Whether the positions of a side have names of their own, to stand along an axis.
export function hasNames(side) {
  return side.kind === "text" || Boolean(side.names);
}

// The name of one position alone, "" where it has nothing but its number.
export function nameOf(side, position) {
  return side.kind === "positions" && !side.names ? "" : shortened(placeText(side, position), MOST_LETTERS);
}

// The positions from `start` up to `end` as nodes for a line of text; one alone is called by its name too.
export function spotNodes(side, start, end = start + 1) {
  return end - start > 1 || nameOf(side, start) === "" ? [span(start, end)] : [`${whole(start)} `, ...placeWords(side, start)];
}

// The same as plain text.
export function spotText(side, start, end = start + 1) {
  return end - start > 1 || nameOf(side, start) === "" ? span(start, end) : `${whole(start)} ${placeLabel(side, start)}`;
}

// A text on a drawing, which cannot turn the direction of what stands beside it.
export function isolated(text) {
  return `\u2068${text}\u2069`;
}

// "layer 3, head 5" or "layer 3, mean of 12 heads".
export function headsText(layer, words) {
  const heads = headsOf(layer, words);
  if (heads.length === 1) return `${layer.label}, ${layer.heads === 1 ? "its one head" : `head ${heads[0]}`}`;
  return `${layer.label}, mean of ${heads.length === layer.heads ? `${layer.heads} heads` : `heads ${heads.join(", ")}`}`;
}

// The heads that words such as "mean", "3" or "1,4" name; all of them where they name none.
export function headsOf(layer, words) {
  const named = words.split(",").filter((word) => /^\d+$/.test(word)).map(Number).filter((head) => head < layer.heads);
  return named.length === 0 ? Array.from({ length: layer.heads }, (_, head) => head) : named;
}
