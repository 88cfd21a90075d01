// The pooled map of one head as a small picture.
import { makeScale } from "./color.js";
import { openCanvas, paintGrid } from "./drawing.js";
import { rangeOf } from "./weights.js";

const [FLATTEST, HIGHEST] = [0.4, 1.6]; // height over width

// How high a picture of a layer is for its width: cells are square unless that makes it unreadable.
export function aspectOfLayer({ queries, keys }) {
  return Math.min(HIGHEST, Math.max(FLATTEST, queries / keys));
}

// Draws a map { rows, columns, values } on its own scale, from 0 to its largest cell; pooled further where the canvas has
// fewer pixels. Returns whether the canvas was visible.
export function drawThumbnail(canvas, map, kind) {
  const open = openCanvas(canvas);
  if (open === null) return false;
  const grid = shrunk(map, canvas.height, canvas.width);
  const { high, smallest } = rangeOf(grid.values);
  open.context.imageSmoothingEnabled = false;
  open.context.drawImage(paintGrid(grid.values, 0, grid.rows, grid.columns, makeScale(kind, high, smallest)), 0, 0, open.width, open.height);
  return true;
}

// A map of at most so many cells: the mean over rows of the sums over columns; a cell of fewer columns than others counts as
// if it had as many, or stripes would appear.
function shrunk(map, mostRows, mostColumns) {
  const [high, wide] = [Math.ceil(map.rows / mostRows), Math.ceil(map.columns / mostColumns)];
  if (high <= 1 && wide <= 1) return map;
  const [rows, columns] = [Math.ceil(map.rows / high), Math.ceil(map.columns / wide)];
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < map.rows; i++) {
    const start = Math.floor(i / high) * columns;
    for (let column = 0, at = i * map.columns; column < columns; column++) {
      const end = Math.min(map.columns, (column + 1) * wide) + i * map.columns;
      let sum = 0;
      for (; at < end; at++) sum += map.values[at];
      values[start + column] += sum;
    }
  }
  const [lastHigh, lastWide] = [map.rows - (rows - 1) * high, map.columns - (columns - 1) * wide];
  for (let row = 0; row < rows; row++) {
    const count = row === rows - 1 ? lastHigh : high;
    for (let column = 0; column < columns; column++) values[row * columns + column] /= count;
    values[row * columns + columns - 1] *= wide / lastWide;
  }
  return { rows, columns, values };
}
