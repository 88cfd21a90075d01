// What a map looks like: cells, largest links, axes with ticks or names, and curves along its edges.
import { paint } from "./color.js";
import { drawFrame } from "./drawing.js";
import { cleaned, hasLabels, ticksOf } from "./map-labels.js";
import { rangeOf } from "./weights.js";

const [MOST_WIDE, LEAST_WIDE, WIDEST_CELL] = [600, 220, 56]; // pixels
const [FLATTEST, HIGHEST] = [0.2, 1.25]; // height over width
const STRIP = 44; // pixels across a curve
const GAP = 8;
const MOST_CELLS = 10_000; // that an SVG holds one by one
const [LEAST_DOT, LEAST_MARKER] = [2.5, 6]; // pixels of a link, of a frame around a cell

// Where the parts of a map lie on a canvas of this width: { width, height, box, right, bottom }; `right` and `bottom` are
// the boxes of curves, null without.
export function layOut(width, layer, { hasRight, hasBottom }) {
  const isNarrow = width < 520;
  const left = hasLabels(layer.side.rows) ? (isNarrow ? 72 : 104) : 72;
  const top = hasLabels(layer.side.columns) ? (isNarrow ? 74 : 92) : 44;
  const strip = hasRight && !isNarrow ? STRIP + GAP : 0;
  const wide = Math.round(Math.min(Math.max(80, width - left - strip - 12), MOST_WIDE, Math.max(LEAST_WIDE, layer.keys * WIDEST_CELL)));
  const square = (wide * layer.queries) / layer.keys;
  const high = Math.round(Math.min(MOST_WIDE, Math.max(40, Math.min(wide * HIGHEST, Math.max(wide * FLATTEST, square)))));
  const box = { x: left, y: top, width: wide, height: Math.min(high, layer.queries * WIDEST_CELL) };
  return {
    width: left + wide + strip + 12,
    height: top + box.height + (hasBottom ? STRIP + GAP : 0) + 10,
    box,
    right: strip > 0 ? { x: left + wide + GAP, y: top, width: STRIP, height: box.height } : null,
    bottom: hasBottom ? { x: left, y: top + box.height + GAP, width: wide, height: STRIP } : null,
  };
}

// The pixels of a part of the matrix.
export function boxOf(box, view, { top, bottom, left, right }) {
  const [tall, wide] = [box.height / (view.bottom - view.top), box.width / (view.right - view.left)];
  return { x: box.x + (left - view.left) * wide, y: box.y + (top - view.top) * tall, width: (right - left) * wide, height: (bottom - top) * tall };
}

// A tile where it lies in view. Cells that stand behind links are drawn softly.
export function drawTile(pen, tile, view, box, kind) {
  const seen = {
    top: Math.max(tile.top, view.top), bottom: Math.min(tile.bottom, view.bottom),
    left: Math.max(tile.left, view.left), right: Math.min(tile.right, view.right),
  };
  if (seen.top >= seen.bottom || seen.left >= seen.right) return;
  const image = tile.image(kind);
  const [tall, wide] = [image.height / (tile.bottom - tile.top), image.width / (tile.right - tile.left)];
  const part = { x: (seen.left - tile.left) * wide, y: (seen.top - tile.top) * tall, width: (seen.right - seen.left) * wide, height: (seen.bottom - seen.top) * tall };
  const target = boxOf(box, view, seen);
  pen.image(image, part, target, { isSmooth: tile.links !== null || part.width > target.width * 1.5 || part.height > target.height * 1.5 });
}

// The cells of a tile one by one, for a drawing that is edited later; false where they are too many.
export function drawCells(pen, tile, view, box, kind) {
  if (tile.links !== null || tile.rows * tile.columns > MOST_CELLS) return false;
  const colors = colorsOf(tile.values, tile.scale(kind));
  for (let row = 0, at = 0; row < tile.rows; row++) {
    for (let column = 0; column < tile.columns; column++, at++) {
      const cell = { top: tile.rowEdges[row], bottom: tile.rowEdges[row + 1], left: tile.columnEdges[column], right: tile.columnEdges[column + 1] };
      if (cell.bottom > view.top && cell.top < view.bottom && cell.right > view.left && cell.left < view.right) pen.rect(boxOf(box, view, cell), { color: colors[at] });
    }
  }
  return true;
}

export function drawLinks(pen, tile, view, box, kind, keys) {
  if (tile.links.kind !== kind) Object.assign(tile.links, { kind, colors: colorsOf([...tile.links.weights.values()], tile.scale(kind)) });
  let next = 0;
  for (const at of tile.links.weights.keys()) {
    const color = tile.links.colors[next++];
    const [row, column] = [Math.floor(at / keys), at % keys];
    if (row + 1 <= view.top || row >= view.bottom || column + 1 <= view.left || column >= view.right) continue;
    const { x, y, width, height } = boxOf(box, view, { top: row, bottom: row + 1, left: column, right: column + 1 });
    const [w, h] = [Math.max(LEAST_DOT, width), Math.max(LEAST_DOT, height)];
    pen.rect({ x: x + (width - w) / 2, y: y + (height - h) / 2, width: w, height: h }, { color });
  }
}

function colorsOf(values, scale) {
  if (values.length === 0) return [];
  const { data } = paint(new ImageData(values.length, 1), values, 0, scale);
  return Array.from({ length: values.length }, (_, i) => `rgb(${data[4 * i]},${data[4 * i + 1]},${data[4 * i + 2]})`);
}

// The axes left of and above a map: queries downwards, keys to the right.
export function drawAxes(pen, layer, view, box, colors) {
  const { rows, columns } = layer.side;
  const style = { color: colors.muted };
  const left = ticksOf(rows, view.top, view.bottom, box.height, 36);
  const isUpright = hasLabels(columns) && (columns.kind !== "picture" || box.width / (view.right - view.left) >= 11);
  const above = ticksOf(columns, view.left, view.right, box.width, columns.kind === "picture" ? 56 : 72);
  const isNamed = (side, ticks) => hasLabels(side) && ticks.some((tick) => tick.at % 1 === 0.5);
  for (const { at, words } of left) {
    const y = box.y + ((at - view.top) / (view.bottom - view.top)) * box.height;
    if (y < box.y - 0.5 || y > box.y + box.height + 0.5) continue;
    pen.line(box.x - 4, y, box.x - 1, y, style);
    pen.words(words, box.x - 8, y, { ...style, size: isNamed(rows, left) ? 11 : 12, align: "right", maxWidth: box.x - 30 });
  }
  for (const { at, words } of above) {
    const x = box.x + ((at - view.left) / (view.right - view.left)) * box.width;
    if (x < box.x - 0.5 || x > box.x + box.width + 0.5) continue;
    pen.line(x, box.y - 4, x, box.y - 1, style);
    if (isUpright && isNamed(columns, above)) pen.words(words, x, box.y - 8, { ...style, size: 11, turned: true, maxWidth: box.y - 32 });
    else pen.words(words, x, box.y - 13, { ...style, align: x < box.x + 16 ? "left" : x > box.x + box.width - 24 ? "right" : "center" });
  }
  const title = (what, side) => (side.name === what ? what : `${what}: ${cleaned(side.name)}`);
  pen.words(title("queries", rows), 10, box.y + box.height / 2, { ...style, align: "center", turned: true, maxWidth: Math.max(60, box.height) });
  pen.words(title("keys", columns), box.x + box.width / 2, 10, { ...style, align: "center", maxWidth: box.width });
}

// A curve over the queries in view, right of the map, or over the keys in view, below it; from 0 to its largest value.
export function drawStrip(pen, points, { length, from, to, box, words, isStanding, colors, format }) {
  const [along, across] = isStanding ? [box.height, box.width] : [box.width, box.height];
  const { high } = rangeOf(points);
  const line = [];
  const steps = Math.min(along, Math.max(1, Math.ceil(((to - from) / length) * points.length)));
  for (let step = 0; step < steps; step++) {
    const [start, end] = [from + ((to - from) * step) / steps, from + ((to - from) * (step + 1)) / steps];
    const first = Math.min(points.length - 1, Math.floor((start / length) * points.length + 1e-6));
    const last = Math.min(points.length, Math.max(first + 1, Math.floor((end / length) * points.length + 1e-6)));
    let sum = 0;
    for (let i = first; i < last; i++) sum += points[i];
    const value = high > 0 && !Number.isNaN(sum) ? (sum / (last - first) / high) * across : 0;
    for (const edge of [step / steps, (step + 1) / steps]) line.push(isStanding ? [box.x + value, box.y + edge * along] : [box.x + edge * along, box.y + value]);
  }
  const [first, last] = isStanding ? [[box.x, box.y], [box.x, box.y + along]] : [[box.x, box.y], [box.x + along, box.y]];
  pen.shape([first, ...line, last], { fill: colors.accent, alpha: 0.25 });
  pen.shape(line, { color: colors.accent });
  const style = { color: colors.muted, size: 11 };
  if (isStanding) {
    pen.words(words, box.x, box.y - 24, style);
    pen.words(`0 to ${format(high)}`, box.x, box.y - 10, { ...style, maxWidth: box.width + 12 });
    return;
  }
  pen.words(words, box.x - 8, box.y + 9, { ...style, align: "right", maxWidth: box.x - 8 });
  pen.words(`0 to ${format(high)}`, box.x - 8, box.y + 24, { ...style, align: "right", maxWidth: box.x - 8 });
}

// A frame around a cell that is not too small to be seen.
export function drawMarker(context, { x, y, width, height }) {
  const [w, h] = [Math.max(LEAST_MARKER, width), Math.max(LEAST_MARKER, height)];
  drawFrame(context, { x: x + (width - w) / 2, y: y + (height - h) / 2, width: w, height: h });
}

// The same with lines to the edges of the map that leave the cell itself free.
export function drawCrosshair(pen, context, cell, box) {
  const [x, y] = [cell.x + cell.width / 2, cell.y + cell.height / 2];
  for (const [color, alpha, shift] of [["#000", 0.55, 1], ["#fff", 0.85, 0]]) {
    const style = { color, alpha };
    pen.line(box.x, y + shift, cell.x - 2, y + shift, style);
    pen.line(cell.x + cell.width + 2, y + shift, box.x + box.width, y + shift, style);
    pen.line(x + shift, box.y, x + shift, cell.y - 2, style);
    pen.line(x + shift, cell.y + cell.height + 2, x + shift, box.y + box.height, style);
  }
  drawMarker(context, cell);
}
