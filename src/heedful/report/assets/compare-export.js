// A comparison as it leaves the page: a drawing of the maps side by side, and a table of their cells.
import { drawBar } from "./color-bar.js";
import { drawMap, heightOf } from "./compare-figure.js";
import { shortTitle } from "./compare-sides.js";
import { headsText } from "./heads.js";
import { canvasPen } from "./pen.js";
import { isolated, nameOf, spanText } from "./positions.js";
import { vectorCanvas } from "./svg-canvas.js";
import { palette } from "./theme.js";

const SHEET = { map: 400, gap: 24, title: 44, bar: 44, edge: 8 }; // pixels
const POSITIONS = ["first query", "last query", "query", "first key", "last key", "key"];

// `maps` are { title, about, layer, grid, image, cell, bar }, as compare.js shows them.
export function compareSheet(maps) {
  const heights = maps.map(({ layer }) => heightOf(layer, SHEET.map));
  const width = maps.length * SHEET.map + (maps.length - 1) * SHEET.gap;
  const { canvas, element } = vectorCanvas(width, Math.max(...heights) + SHEET.title + SHEET.bar);
  const [context, colors] = [canvas.getContext("2d"), palette()];
  const pen = canvasPen(context);
  maps.forEach(({ title, about, layer, grid, image, cell, bar }, i) => {
    const x = i * (SHEET.map + SHEET.gap);
    pen.words(title, x, 7, { color: colors.ink, size: 14, weight: 600 });
    pen.words(isolated(about), x, 26, { color: colors.muted });
    const part = vectorCanvas(SHEET.map, heights[i]);
    const box = drawMap(part.canvas, layer, grid, image, cell);
    context.drawImage(part.element, x, SHEET.title, SHEET.map, heights[i]);
    drawBar(pen, { x: x + box.x, y: SHEET.title + heights[i] + SHEET.edge, width: box.width }, bar.labels, colors, bar.strip);
  });
  return element;
}

// The cells of both maps, and their difference where there is one.
export function compareTable({ left, right }, grids) {
  const name = "comparison";
  if (grids.difference === null) {
    const rowsOf = (side, { layer }, grid) => cellRows(layer, grid).map((row, at) => [side, ...row, grid.values[at]]);
    return { name, header: ["side", ...POSITIONS, "weight"], rows: [...rowsOf("left", left, grids.left), ...rowsOf("right", right, grids.right)] };
  }
  const title = ({ page, layer, words }) => `${shortTitle(page.section.title)}, ${headsText(layer, words)}`;
  const rows = cellRows(left.layer, grids.left).map((row, at) => [...row, grids.left.values[at], grids.right.values[at], grids.difference[at]]);
  return { name, header: [...POSITIONS, `left: ${title(left)}`, `right: ${title(right)}`, "right minus left"], rows };
}

// Where each cell of a map lies: its first and last positions, and their names.
function cellRows({ side }, { rowEdges, columnEdges }) {
  const cells = (edges, one) =>
    Array.from({ length: edges.length - 1 }, (_, at) => {
      const [start, end] = [edges[at], edges[at + 1]];
      return [start, end - 1, end - start === 1 ? nameOf(one, start) : spanText(one, start, end)];
    });
  const [down, across] = [cells(rowEdges, side.rows), cells(columnEdges, side.columns)];
  return down.flatMap((query) => across.map((key) => [...query, ...key]));
}
