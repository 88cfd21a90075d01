// A map as it leaves the page: a drawing with the bar of colors, and a table of what is in view.
import { drawBar } from "./color-bar.js";
import { percent } from "./format.js";
import { cellWords } from "./map-legend.js";
import { touched } from "./map-viewport.js";
import { canvasPen } from "./pen.js";
import { vectorCanvas } from "./svg-canvas.js";

const BELOW = 64; // pixels of the bar of colors below the drawing

// `drawOn(pen)` draws the map.
export function mapSheet(lay, tile, kind, colors, drawOn) {
  const { canvas, element } = vectorCanvas(lay.width, lay.height + BELOW);
  const pen = canvasPen(canvas.getContext("2d"));
  pen.rect({ x: 0, y: 0, width: lay.width, height: lay.height + BELOW }, { color: colors.panel });
  drawOn(pen);
  if (tile === null) return element;
  const bar = { x: lay.box.x, y: lay.height + 26, width: Math.min(lay.box.width, 320) };
  pen.words(cellWords(tile), bar.x, bar.y - 10, { color: colors.muted, size: 11, maxWidth: bar.width });
  drawBar(pen, bar, [0, 0.5, 1].map((fraction) => percent(tile.scale(kind).value(fraction))), colors);
  return element;
}

// The cells in view with the positions that they cover; the links in view where these are drawn.
export function mapTable(name, tile, view, frame) {
  const part = touched(view, frame);
  if (tile.links) {
    const rows = [...tile.links.weights].map(([at, weight]) => [Math.floor(at / frame.keys), at % frame.keys, weight]);
    return { name, header: ["query", "key", "weight"], rows: rows.filter(([i, j]) => i >= part.top && i < part.bottom && j >= part.left && j < part.right) };
  }
  const inView = (edges, start, end) => Array.from({ length: edges.length - 1 }, (_, cell) => cell).filter((cell) => edges[cell + 1] > start && edges[cell] < end);
  const [rows, columns] = [inView(tile.rowEdges, part.top, part.bottom), inView(tile.columnEdges, part.left, part.right)];
  return {
    name,
    header: ["first query", "last query", ...columns.map((column) => `key ${stretch(tile.columnEdges[column], tile.columnEdges[column + 1] - 1)}`)],
    rows: rows.map((row) => [tile.rowEdges[row], tile.rowEdges[row + 1] - 1, ...columns.map((column) => tile.values[row * tile.columns + column])]),
  };
}

function stretch(first, last) {
  return first === last ? String(first) : `${first} to ${last}`;
}
