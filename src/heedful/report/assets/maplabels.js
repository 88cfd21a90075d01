// What stands along an axis, as words: the name of a position, and ticks for the positions in view.
import { valueTicks } from "./axes.js";
import { number, whole } from "./dom.js";

const [MOST_SHOWN, MOST_READ] = [40, 60]; // characters of a given name on an axis, in a sentence
const NAME_ROOM = 11; // pixels that a name needs across its line

// What a position is called, beside its number: { words, isGiven }; null where it has no name.
export function nameOf(side, position) {
  if (side.kind === "text") return { words: cleaned(side.tokens[position] ?? "", MOST_READ), isGiven: true };
  if (side.kind === "positions" && side.names !== null) return { words: cleaned(side.names[position] ?? "", MOST_READ), isGiven: true };
  if (side.kind === "picture") {
    if (position < side.extra.length) return { words: cleaned(side.extra[position], MOST_READ), isGiven: true };
    const patch = position - side.extra.length;
    return { words: `row ${Math.floor(patch / side.grid[1])}, column ${patch % side.grid[1]}`, isGiven: false };
  }
  if (side.kind === "sound") return { words: `${number(secondsOf(side, position))} s`, isGiven: false };
  return null;
}

// Whether positions have names of their own, for which an axis keeps room.
export function hasNames(side) {
  return side.kind === "text" || side.kind === "picture" || (side.kind === "positions" && side.names !== null);
}

// Given text as one short line: signs that would break it are shown as signs, what is too long ends in an ellipsis.
export function cleaned(text, most = MOST_SHOWN) {
  const letters = [...text.slice(0, 4 * most)];
  const short = letters.length > most || text.length > 4 * most ? `${letters.slice(0, most - 1).join("")}\u2026` : text;
  const visible = short.replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5").replace(/[\u0000-\u001f\u007f-\u009f\ufffe\uffff]/g, "\ufffd").replace(/[\ud800-\udfff]/gu, "\ufffd");
  return visible.replace(/[\s\u200b-\u200f\u2060\ufeff]/g, "") === "" ? "\u2423" : visible;
}

// Ticks { at, words } of the positions from `from` to `to` on so many pixels; `at` is a position, its middle where it is
// wide enough to be seen. `each` is the room that words need along the axis where they are numbers.
export function ticksOf(side, from, to, room, each) {
  const size = room / (to - from);
  if (hasNames(side) && size >= NAME_ROOM) {
    return positions(side, from, to).map((position) => ({ at: position + 0.5, words: shortName(side, position) }));
  }
  if (side.kind === "picture") return pictureTicks(side, from, to, size, each);
  if (side.kind === "sound") {
    const second = side.count / side.seconds;
    return valueTicks(from / second, to / second, Math.max(1, room / each)).map((seconds) => ({ at: seconds * second, words: `${number(seconds)} s` }));
  }
  const middle = size >= 3 ? 0.5 : 0;
  const rounds = valueTicks(Math.ceil(from), Math.max(Math.ceil(from) + 1, to - 2 * middle), Math.max(1, room / each));
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
  if (side.kind !== "picture" || position < side.extra.length) return cleaned(nameOf(side, position).words);
  const patch = position - side.extra.length;
  return `${Math.floor(patch / side.grid[1])}, ${patch % side.grid[1]}`;
}

function positions(side, from, to) {
  const [first, last] = [Math.max(0, Math.floor(from)), Math.min(side.count, Math.ceil(to))];
  return Array.from({ length: last - first }, (_, i) => first + i);
}

function secondsOf(side, position) {
  return (position * side.seconds) / side.count;
}
