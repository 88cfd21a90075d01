// The numbers of heads and how they are called, in the order in which they are offered.

const NAMES = {
  entropy: "entropy",
  first: "sink mass (first key)",
  distance: "mean distance",
  previous: "previous token",
  induction: "induction",
  alignment: "alignment",
  received: "received mass (most)",
  largest: "largest weight (mean)",
  next: "next token",
  current: "own position",
  same: "same token",
  separator: "separators",
  local: "local",
  uniform: "uniform",
};

export function numberName(name) {
  return NAMES[name] ?? name;
}

// The names of the numbers that at least one head of some layers has.
export function presentNumbers(layers) {
  const found = new Set(layers.flatMap((layer) => Object.keys(layer.numbers).filter((name) => layer.numbers[name].some((value) => value !== null))));
  return [...Object.keys(NAMES).filter((name) => found.has(name)), ...[...found].filter((name) => !(name in NAMES))];
}

// A number of a head; null where it is not defined.
export function numberOf(layer, head, name) {
  return layer.numbers[name]?.[head] ?? null;
}

// What kind a head was found to be; null where it is of none.
export function kindOf(layer, head) {
  const kind = layer.kinds[head];
  return kind && kind !== "other" ? kind : null;
}
