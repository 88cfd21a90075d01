// Parts of a matrix as images of one pixel a cell, each with its own colors: what a map shows while it waits for a finer
// part, and that part.
import { cellOf, cellsOf, edgesBetween, evened } from "./cells.js";
import { makeScale, paint } from "./color.js";
import { element } from "./dom.js";
import { slices } from "./timing.js";
import { rangeOf, sumOf } from "./weights.js";

const MARGIN = 1 / 8; // of what is in view that is asked for on each side of it, for moving
const MOST_LINKS = 12_000; // that are looked at for what is in view
const MOST_ROWS = 512; // rows times heads that are computed for what is in view
const KEPT_NUMBERS = 8_000_000; // of computed rows
const SLICE = 10; // milliseconds of computing before the page may draw
const FINEST = 2048; // positions of a part that may be drawn one by one

// What to ask for so that a view is sharp on so many pixels: { top, bottom, left, right, high, wide }, where a cell has
// `high` rows and `wide` columns. Cells begin at multiples of their size: they do not change when the view is moved.
export function partFor(view, frame, pixels) {
  const [height, width] = [view.bottom - view.top, view.right - view.left];
  const [high, wide] = [Math.max(1, Math.ceil(height / pixels.height - 0.01)), Math.max(1, Math.ceil(width / pixels.width - 0.01))];
  const down = (at, step) => Math.max(0, Math.floor(at / step) * step);
  const up = (at, step, most) => Math.min(most, Math.ceil(at / step) * step);
  return {
    top: down(view.top - MARGIN * height, high),
    bottom: up(view.bottom + MARGIN * height, high, frame.queries),
    left: down(view.left - MARGIN * width, wide),
    right: up(view.right + MARGIN * width, wide, frame.keys),
    high,
    wide,
  };
}

// Whether a part that is there serves as well as one that would be asked for.
export function serves(part, wanted, view) {
  if (part.high !== wanted.high || part.wide !== wanted.wide) return false;
  const covers = part.top <= Math.max(0, view.top) && part.bottom >= Math.min(view.bottom, wanted.bottom) && part.left <= Math.max(0, view.left) && part.right >= Math.min(view.right, wanted.right);
  const area = ({ top, bottom, left, right }) => (bottom - top) * (right - left);
  return covers && area(part) <= 2.5 * area(wanted);
}

// The tile of a whole map that is held.
export function tileOfMap({ values, rowEdges, columnEdges }) {
  return makeTile(values, rowEdges, columnEdges);
}

// The tile of a part; `isOld` says whether nobody waits for it any longer.
// Where rows can be computed, and are few, they are; where the largest links are held, and rows are few, these are added.
export async function loadTile(layer, chosen, part, isOld) {
  const [rows, columns] = [Math.ceil((part.bottom - part.top) / part.high), Math.ceil((part.right - part.left) / part.wide)];
  if (layer.holds === "rows" && (part.bottom - part.top) * chosen.length <= MOST_ROWS) return tileOfRows(layer, chosen, part, isOld);
  const tile = tileOfWindow(await layer.window(chosen, part, rows, columns));
  const links = layer.holds === "links" ? layer.pairs.indices.shape[2] : 0;
  if (links > 0 && part.high === 1 && (part.bottom - part.top) * chosen.length * links <= MOST_LINKS) await addLinks(tile, layer, chosen, part);
  return tile;
}

// The tile of a window of the store; `finer` promises a finer one where its server still computes it.
function tileOfWindow(found) {
  const tile = makeTile(found.values, found.rowEdges, found.columnEdges);
  tile.finer = found.finer ? async () => tileOfWindow(await found.finer()) : null;
  return tile;
}

// A tile { top, bottom, left, right, rows, columns, values, rowEdges, columnEdges, high, smallest, links, scale(kind), image(kind) }.
function makeTile(values, rowEdges, columnEdges) {
  const [rows, columns] = [rowEdges.length - 1, columnEdges.length - 1];
  const shown = evened(values, columnEdges);
  const tile = {
    top: rowEdges[0], bottom: rowEdges[rows], left: columnEdges[0], right: columnEdges[columns],
    rows, columns, values, rowEdges, columnEdges, links: null, finer: null, ...rangeOf(shown),
  };
  const isEven = isRegular(columnEdges) && isRegular(rowEdges);
  const mayExpand = tile.bottom - tile.top <= FINEST && tile.right - tile.left <= FINEST;
  return Object.assign(tile, withImage(isEven || !mayExpand ? { rows, columns, shown } : expanded(tile, shown), tile));
}

function isRegular(edges) {
  for (let i = 2; i < edges.length; i++) if (edges[i] - edges[i - 1] !== edges[1] - edges[0]) return false;
  return true;
}

// Cells of unlike sizes, drawn one pixel a position so that they stand where they belong.
function expanded({ top, bottom, left, right, columns, rowEdges, columnEdges }, shown) {
  const [height, width] = [bottom - top, right - left];
  const [row, column] = [cellsOf(rowEdges), cellsOf(columnEdges)];
  const all = new Float32Array(height * width);
  for (let i = 0, at = 0; i < height; i++) for (let j = 0; j < width; j++, at++) all[at] = shown[row[i] * columns + column[j]];
  return { rows: height, columns: width, shown: all };
}

function withImage({ rows, columns, shown }, tile) {
  let painted = null;
  return {
    scale: (kind) => makeScale(kind, tile.high, tile.smallest),
    image(kind) {
      if (painted === null || painted.kind !== kind) {
        const canvas = painted?.canvas ?? element("canvas", { width: columns, height: rows });
        canvas.getContext("2d").putImageData(paint(new ImageData(columns, rows), shown, 0, tile.scale(kind)), 0, 0);
        painted = { kind, canvas };
      }
      return painted.canvas;
    },
  };
}

// Adds the largest links of the rows of a part to its tile, whose cells become the mean weight of a pair: then both have the
// same colors.
async function addLinks(tile, layer, chosen, { top, bottom, left, right }) {
  const found = await layer.links(chosen, { top, bottom, left: 0, right: layer.keys }, Infinity);
  const weights = new Map();
  const masses = new Float32Array(bottom - top);
  for (const { row, column, weight } of found) {
    masses[row - top] += weight / chosen.length;
    if (column < left || column >= right) continue;
    const at = row * layer.keys + column;
    weights.set(at, (weights.get(at) ?? 0) + weight / chosen.length);
  }
  const means = tile.values.map((value, at) => value / (tile.columnEdges[(at % tile.columns) + 1] - tile.columnEdges[at % tile.columns]));
  const range = rangeOf([...weights.values(), ...means]);
  Object.assign(tile, range, { links: { weights, masses } });
  Object.assign(tile, withImage({ rows: tile.rows, columns: tile.columns, shown: means }, tile));
}

const ROWS = new Map(); // computed rows of layers, the one that was used last at the end
const SIGNS = new WeakMap(); // of layers, a number each
let numbersKept = 0;
let signs = 0;

async function tileOfRows(layer, chosen, part, isOld) {
  const [height, width] = [part.bottom - part.top, part.right - part.left];
  const rowEdges = edgesBetween(part.top, part.bottom, Math.ceil(height / part.high), layer.cuts.rows);
  const columnEdges = edgesBetween(part.left, part.right, Math.ceil(width / part.wide), layer.cuts.columns);
  const columns = columnEdges.length - 1;
  const values = new Float32Array((rowEdges.length - 1) * columns);
  const columnOf = cellsOf(columnEdges);
  const pause = slices(SLICE);
  for (let row = 0; row + 1 < rowEdges.length; row++) {
    for (let i = rowEdges[row]; i < rowEdges[row + 1]; i++) {
      const weights = await keptRow(layer, chosen, i);
      const share = 1 / (rowEdges[row + 1] - rowEdges[row]);
      for (let j = 0; j < width; j++) values[row * columns + columnOf[j]] += share * weights[part.left + j];
      if ((await pause()) && isOld()) return null;
    }
  }
  return makeTile(values, rowEdges, columnEdges);
}

async function keptRow(layer, chosen, i) {
  if (!SIGNS.has(layer)) SIGNS.set(layer, signs++);
  const key = `${SIGNS.get(layer)}|${chosen.join()}|${i}`;
  const kept = ROWS.get(key);
  const row = kept ?? { weights: (await layer.row(chosen, i)).weights };
  ROWS.delete(key);
  ROWS.set(key, row);
  if (kept === undefined) numbersKept += row.weights.length;
  while (numbersKept > KEPT_NUMBERS) {
    const [oldest, { weights }] = ROWS.entries().next().value;
    ROWS.delete(oldest);
    numbersKept -= weights.length;
  }
  return row.weights;
}

// How much of the mass of the rows in view their largest links are.
export function massInView({ links, top, bottom }, view) {
  const rows = links.masses.subarray(Math.max(0, Math.floor(view.top) - top), Math.min(bottom, Math.ceil(view.bottom)) - top);
  return sumOf(rows) / rows.length;
}

// The cell of a tile that holds a position; null outside.
export function cellIn(tile, i, j) {
  if (i < tile.top || i >= tile.bottom || j < tile.left || j >= tile.right) return null;
  const [row, column] = [cellOf(i, tile.rowEdges), cellOf(j, tile.columnEdges)];
  return {
    row, column, value: tile.values[row * tile.columns + column],
    top: tile.rowEdges[row], bottom: tile.rowEdges[row + 1], left: tile.columnEdges[column], right: tile.columnEdges[column + 1],
  };
}
