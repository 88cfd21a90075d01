// The pooled map of one head as a small picture.
import { evened, poolMap } from "./cells.js";
import { makeScale } from "./color.js";
import { openCanvas, paintGrid } from "./drawing.js";
import { rangeOf } from "./weights.js";

const AXES = ["rows", "columns"];
const [FLATTEST, HIGHEST] = [0.4, 1.6]; // height over width

// How high a picture of a layer is for its width: cells are square unless that makes it unreadable.
export function aspectOfLayer({ queries, keys }) {
  return Math.min(HIGHEST, Math.max(FLATTEST, queries / keys));
}

// Draws a map { rows, columns, values } on its own scale, from 0 to its largest cell; pooled further where the canvas has
// fewer pixels. Returns whether the canvas was visible.
export function drawThumbnail(canvas, layer, map, kind) {
  const open = openCanvas(canvas);
  if (open === null) return false;
  const whole = { top: 0, bottom: layer.queries, left: 0, right: layer.keys };
  const [rows, columns] = [canvas.height, canvas.width].map((pixels, axis) => Math.ceil(map[AXES[axis]] / Math.ceil(map[AXES[axis]] / pixels)));
  const grid = poolMap(map, whole, rows, columns, layer.cuts);
  const values = evened(grid.values, grid.columnEdges);
  const { high, smallest } = rangeOf(values);
  open.context.imageSmoothingEnabled = false;
  open.context.drawImage(paintGrid(values, 0, grid.rows, grid.columns, makeScale(kind, high, smallest)), 0, 0, open.width, open.height);
  return true;
}
