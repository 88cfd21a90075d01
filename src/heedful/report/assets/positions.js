// The positions of a side: their names for readouts and tables, and where they lie in seconds or steps along an axis.
import { userText } from "./dom.js";
import { number, span, whole } from "./format.js";
import { readTokens } from "./text-tokens.js";

const MOST_LETTERS = { sentence: 48, name: 60 }; // of a token

export function shortened(text, most = MOST_LETTERS.sentence) {
  if (text.length <= most) return text;
  return `${[...text.slice(0, 2 * most)].slice(0, most - 1).join("")}\u2026`;
}

// The name of a position without words around it: a token, "(2, 3)", "1.24 s".
export function positionText(side, position) {
  if (side.kind === "picture") {
    const patch = position - side.extra.length;
    return patch < 0 ? side.extra[position] : `(${Math.floor(patch / side.grid[1])}, ${patch % side.grid[1]})`;
  }
  if (side.kind === "sound") return seconds(secondsAt(side, position));
  if (side.kind === "series") return span(...stepsAt(side, position));
  return side.kind === "text" || side.names ? readTokens(side).show(position).text : whole(position);
}

// The same as parts of a sentence: "patch (2, 3)", the token between quotation marks.
export function positionNodes(side, position) {
  const text = shortened(positionText(side, position));
  if (side.kind === "picture") return position < side.extra.length ? [userText(text)] : [`patch ${text}`];
  if (side.kind === "sound") return [text];
  if (side.kind === "series") return [`step ${text}`];
  if (side.kind === "text") return ["\u201c", userText(text), "\u201d"];
  return side.names ? [userText(text)] : [`position ${text}`];
}

// Parts of a sentence as one text.
export function plainText(parts) {
  return parts.map((part) => (typeof part === "string" ? part : part.textContent)).join("");
}

// The same as plain words, for a label.
export function positionLabel(side, position) {
  return plainText(positionNodes(side, position));
}

// Whether the positions of a side have names of their own, to stand along an axis.
export function hasNames(side) {
  return side.kind === "text" || Boolean(side.names);
}

// The name of one position alone, "" where it has nothing but its number.
export function nameOf(side, position) {
  return side.kind === "positions" && !side.names ? "" : shortened(positionText(side, position), MOST_LETTERS.name);
}

// The positions from `start` up to `end` as nodes for a line of text; one alone is called by its name too.
export function spanNodes(side, start, end = start + 1) {
  return end - start > 1 || nameOf(side, start) === "" ? [span(start, end)] : [`${whole(start)} `, ...positionNodes(side, start)];
}

// The same as plain text.
export function spanText(side, start, end = start + 1) {
  return end - start > 1 || nameOf(side, start) === "" ? span(start, end) : `${whole(start)} ${positionLabel(side, start)}`;
}

// A text on a drawing, which cannot turn the direction of what stands beside it.
export function isolated(text) {
  return `\u2068${text}\u2069`;
}

// The middle of a position of a sound.
export function secondsAt(side, position) {
  return ((position + 0.5) / side.count) * side.seconds;
}

export function seconds(value) {
  return `${value.toFixed(value < 100 ? 2 : 1)}\u00a0s`;
}

// The steps of a series that a position stands for, [start, end).
function stepsAt(side, position) {
  const steps = side.values.shape[1];
  const start = Math.floor((position * steps) / side.count);
  return [start, Math.max(start + 1, Math.floor(((position + 1) * steps) / side.count))];
}

// How far an axis goes, and in what: { length, title, format }.
export function axisOf(side) {
  if (side.kind === "sound") return { length: side.seconds, title: "seconds", format: (tick) => number(tick) };
  if (side.kind === "series") return { length: side.values.shape[1], title: "step", format: whole };
  return { length: side.count, title: side.kind === "text" ? "token" : "position", format: whole };
}
