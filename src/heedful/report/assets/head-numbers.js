// The numbers of heads and their names, in the order in which they are offered.
import { number, percent } from "./format.js";

// Each number: its short name, and what it measures.
const NAMES = {
  entropy: ["entropy", "entropy of a row (nat)"],
  first: ["sink mass (first key)", "mass on the first key (sink)"],
  distance: ["mean distance", "distance from query to key (positions)"],
  previous: ["previous token", "mass on the previous key"],
  induction: ["induction", "mass on the token after an earlier occurrence of the same token"],
  alignment: ["alignment", "alignment (1: moves along the keys)"],
  received: ["received mass (maximum)", "maximum mass received by a key (share of all)"],
  largest: ["largest weight (mean)", "largest weight of a row"],
  next: ["next token", "mass on the next key"],
  current: ["own position", "mass on the key at the query's own position"],
  same: ["same token", "mass on other occurrences of the same token"],
  separator: ["separators", "mass on separators"],
  local: ["local", "mass on nearby keys, above chance"],
  uniform: ["uniform", "uniformity (1: all keys have equal weights)"],
};

// Whether a number is a share: from 0 to 1.
export function isShare(name) {
  return name !== "entropy" && name !== "distance";
}

// A number of a head as words: a share as a percentage.
export function valueWords(name, value) {
  if (value === null || value === undefined) return "\u2013";
  return isShare(name) ? percent(value) : number(value);
}

export function numberName(name) {
  return NAMES[name]?.[0] ?? name;
}

export function numberMeaning(name) {
  return NAMES[name]?.[1] ?? name;
}

// The names of the numbers that at least one head of some layers has.
export function presentNumbers(layers) {
  const found = new Set(layers.flatMap((layer) => Object.keys(layer.numbers).filter((name) => layer.numbers[name].some((value) => value !== null))));
  return [...Object.keys(NAMES).filter((name) => found.has(name)), ...[...found].filter((name) => !Object.hasOwn(NAMES, name))];
}

// A number of a head; null where it is not defined.
export function numberOf(layer, head, name) {
  return layer.numbers[name]?.[head] ?? null;
}
