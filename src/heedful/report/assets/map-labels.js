// Ticks along the axes of a map: names or numbers of the positions in view.
import { valueTicks } from "./axes.js";
import { number, whole } from "./format.js";
import { positionText } from "./positions.js";

const MOST_LETTERS = 40; // of a name
const NAME_SIZE = 11; // pixels that a name needs across its line

// Whether an axis keeps space for names of single positions.
export function hasLabels(side) {
  return side.kind === "text" || side.kind === "picture" || (side.kind === "positions" && side.names !== null);
}

// Given text as one short line: signs that would break it are shown as signs, what is too long ends in an ellipsis.
export function cleaned(text, most = MOST_LETTERS) {
  const letters = [...text.slice(0, 4 * most)];
  const short = letters.length > most || text.length > 4 * most ? `${letters.slice(0, most - 1).join("")}\u2026` : text;
  const visible = short.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5").replace(/[\u0000-\u001f\u007f-\u009f\ufffe\uffff]/g, "\ufffd").replace(/[\ud800-\udfff]/gu, "\ufffd");
  return visible.replace(/[\s\u200b-\u200f\u2060\ufeff]/g, "") === "" ? "\u2423" : visible;
}

// Ticks { at, words } of the positions from `from` to `to` on so many pixels; `at` is a position, its middle where it is
// wide enough to be seen. `each` is the space in pixels that a number needs along the axis.
export function ticksOf(side, from, to, pixels, each) {
  const size = pixels / (to - from);
  if (hasLabels(side) && size >= NAME_SIZE) {
    return positions(side, from, to).map((position) => ({ at: position + 0.5, words: shortName(side, position) }));
  }
  if (side.kind === "picture") return pictureTicks(side, from, to, size, each);
  if (side.kind === "sound") {
    const second = side.count / side.seconds;
    return valueTicks(from / second, to / second, Math.max(1, pixels / each)).map((seconds) => ({ at: seconds * second, words: `${number(seconds)} s` }));
  }
  const middle = size >= 3 ? 0.5 : 0;
  const rounds = valueTicks(Math.ceil(from), Math.max(Math.ceil(from) + 1, to - 2 * middle), Math.max(1, pixels / each));
  return rounds.filter((tick) => Number.isInteger(tick) && tick < side.count + 1 - 2 * middle).map((tick) => ({ at: tick + middle, words: whole(tick) }));
}

function pictureTicks(side, from, to, size, each) {
  const width = side.grid[1];
  const step = Math.max(1, Math.ceil(each / (size * width)));
  const ticks = [];
  for (let row = 0; row < side.grid[0]; row += step) {
    const at = side.extra.length + row * width;
    if (at >= from && at <= to) ticks.push({ at, words: `row ${row}` });
  }
  return ticks;
}

function shortName(side, position) {
  if (side.kind !== "picture") return cleaned(positionText(side, position));
  if (position < side.extra.length) return cleaned(side.extra[position]);
  const patch = position - side.extra.length;
  return `${Math.floor(patch / side.grid[1])}, ${patch % side.grid[1]}`;
}

function positions(side, from, to) {
  const [first, last] = [Math.max(0, Math.floor(from)), Math.min(side.count, Math.ceil(to))];
  return Array.from({ length: last - first }, (_, i) => first + i);
}
