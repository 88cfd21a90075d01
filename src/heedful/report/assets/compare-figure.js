// One of the maps that are compared: its title, the map with its axes, the bar of its colors, and what is read from it.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, positionTicks } from "./axes.js";
import { stripBar } from "./color-bar.js";
import { shortTitle } from "./compare-sides.js";
import { element, userText } from "./dom.js";
import { cellBox, drawFrame, openCanvas } from "./drawing.js";
import { whole } from "./format.js";
import { canvasPen, fitted } from "./pen.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { hasNames, isolated, nameOf } from "./positions.js";
import { palette } from "./theme.js";

const SPACE = { named: 78, numbered: 46, bottom: 24, top: 4, right: 8 }; // around a map, for its names or numbers
const LEAST_NAME = 11; // pixels of a position that is called by its name

// `grid` is as watchGrid takes it, but for `locate`; it is asked once the map is drawn.
export function compareFigure(name, grid) {
  const canvas = element("canvas", { class: "compare-map", tabindex: "0", role: "application", "aria-roledescription": "map of a matrix" });
  const title = element("strong", { class: "compare-title" });
  const origin = userText("", "span", { class: "compare-origin" });
  const reading = element("p", { class: "compare-reading", "aria-hidden": "true" });
  const bar = stripBar();
  const colors = element("div", { class: "compare-colors" }, ...bar.parts);
  let box = null;
  watchGrid(canvas, {
    get rows() {
      return grid.rows();
    },
    get columns() {
      return grid.columns();
    },
    locate: (x, y) => (box === null ? null : cellUnder(box, grid.rows(), grid.columns(), x, y)),
    current: () => (box === null ? null : grid.current()),
    point: (cell) => box !== null && grid.point(cell),
    pick: (cell) => box !== null && grid.pick(cell),
    release: grid.release,
  });
  return {
    element: element("figure", { class: `compare-figure compare-${name}` }, element("figcaption", {}, title, origin), canvas, colors, reading),
    name(words, section = "") {
      title.textContent = words;
      origin.textContent = shortTitle(section);
      origin.hidden = section === "";
      canvas.setAttribute("aria-label", `${words}. Arrow keys move from cell to cell, on all maps at once.`);
    },
    read: (nodes) => reading.replaceChildren(...nodes),
    showBar: ({ strip, labels }) => bar.show(strip, labels),
    draw(layer, cells, image, cell) {
      const height = heightOf(layer, canvas.clientWidth);
      if (canvas.clientWidth > 0 && canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
      box = drawMap(canvas, layer, cells, image, cell) ?? box;
      for (const below of [colors, reading]) below.style.marginLeft = `${box?.x ?? 0}px`;
    },
  };
}

// The free edges of a map of some width: wide where names stand along it.
function edgesOf(layer, width) {
  const inner = width - SPACE.named - SPACE.right;
  const areRowsNamed = hasNames(layer.side.rows) && (inner * ratioOf(layer)) / layer.queries >= LEAST_NAME;
  const areColumnsNamed = hasNames(layer.side.columns) && inner / layer.keys >= LEAST_NAME;
  const edges = { left: areRowsNamed ? SPACE.named : SPACE.numbered, bottom: areColumnsNamed ? SPACE.named : SPACE.bottom, top: SPACE.top, right: SPACE.right };
  return { edges, areRowsNamed, areColumnsNamed };
}

function ratioOf({ queries, keys }) {
  return Math.min(2, Math.max(0.5, queries / keys));
}

export function heightOf(layer, width) {
  const { edges } = edgesOf(layer, width);
  return Math.round((width - edges.left - edges.right) * ratioOf(layer)) + edges.top + edges.bottom;
}

// Draws a map from an image of its cells, with a frame around one of them; returns its box, or null while it is hidden.
export function drawMap(canvas, layer, { rows, columns }, image, cell) {
  const open = openCanvas(canvas);
  if (open === null) return null;
  const { context } = open;
  const { queries, keys, side } = layer;
  const colors = palette();
  const { edges, areRowsNamed, areColumnsNamed } = edgesOf(layer, open.width);
  const box = plotBox(open.width, open.height, edges);
  context.imageSmoothingEnabled = false;
  context.drawImage(image, box.x, box.y, box.width, box.height);
  drawBoxLine(context, box, colors);
  if (areRowsNamed) drawNames(context, side.rows, queries, box, false, colors);
  else drawLeftAxis(context, box, positionTicks(queries, box.height), (p) => p / queries, whole, colors);
  if (areColumnsNamed) drawNames(context, side.columns, keys, box, true, colors);
  else drawBottomAxis(context, box, positionTicks(keys, box.width), (p) => p / keys, whole, colors);
  if (cell !== null) drawFrame(context, cellBox(box, rows, columns, cell));
  return box;
}

// The names of all positions beside a map, or, turned, below it.
function drawNames(context, side, length, box, isBelow, { muted }) {
  const pen = canvasPen(context);
  context.font = "11px system-ui, sans-serif"; // for the widths of names
  for (let position = 0; position < length; position++) {
    const name = isolated(fitted(context, nameOf(side, position), SPACE.named - 10));
    const share = (position + 0.5) / length;
    const [x, y] = isBelow ? [box.x + share * box.width, box.y + box.height + 6] : [box.x - 6, box.y + share * box.height];
    pen.words(name, x, y, { color: muted, size: 11, align: "right", turned: isBelow });
  }
}
