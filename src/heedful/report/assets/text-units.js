// The units of a text view, tokens or words, and how weights of tokens become weights of units.
import { lastWhere } from "./cells.js";
import { readTokens } from "./text-tokens.js";
import { sumOf } from "./weights.js";

const SINK = 0.3; // of all mass, from which a key is a sink

// The units of a side in order, a picture among its tokens as one: { start, end, isSpecial, ...as text-tokens.js shows them }.
export function unitsOf(side, isMerged) {
  const { show } = readTokens(side);
  const words = isMerged ? (side.words ?? null) : null;
  const special = new Set(side.special ?? []);
  const units = [];
  for (let start = 0, end; start < side.count; start = end) {
    const picture = side.pictures?.find((one) => one.start === start);
    if (picture) {
      end = start + picture.grid[0] * picture.grid[1];
      units.push({ start, end, isSpecial: false, parts: [{ text: picture.name, isSign: true }], text: picture.name, title: picture.name, isSpaced: true, breaks: false });
      continue;
    }
    end = start + 1;
    if (words !== null && words[start] >= 0) while (end < side.count && words[end] === words[start]) end++;
    units.push({ start, end, isSpecial: special.has(start), ...show(start, end) });
  }
  return units;
}

// Whether some word of a side has more than one token.
export function hasWords(side) {
  const words = side.words ?? null;
  return words !== null && words.some((word, i) => i > 0 && word >= 0 && word === words[i - 1]);
}

export function unitAt(units, position) {
  return lastWhere(units.length, (at) => units[at].start <= position);
}

// The keys that are no content: special tokens, the first position, and what takes a large share of all mass.
// Each is { position, why }.
export function hiddenKeys(side, received) {
  const special = new Set(side.special ?? []);
  const total = sumOf(received);
  const found = [];
  for (let position = 0; position < received.length; position++) {
    const share = total > 0 ? received[position] / total : 0;
    if (special.has(position)) found.push({ position, share, why: "special" });
    else if (share > SINK) found.push({ position, share, why: "sink" });
    else if (position === 0) found.push({ position, share, why: "first" });
  }
  return found;
}

// What the tokens of each unit have together.
export function sums(weights, units) {
  const folded = new Float32Array(units.length);
  units.forEach(({ start, end }, u) => {
    for (let i = start; i < end; i++) folded[u] += weights[i];
  });
  return folded;
}

// What the tokens of each unit have in the mean.
export function means(weights, units) {
  const folded = sums(weights, units);
  units.forEach(({ start, end }, u) => (folded[u] /= end - start));
  return folded;
}
