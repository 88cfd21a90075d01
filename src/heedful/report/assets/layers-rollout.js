// Attention followed through all layers: its map, and what each position receives by it.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, positionTicks } from "./axes.js";
import { makeScale } from "./color.js";
import { drawCurve } from "./curve.js";
import { element } from "./dom.js";
import { cellBox, drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { percent, whole } from "./format.js";
import { profileOf, topList } from "./layers-profiles.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { spanNodes } from "./positions.js";
import { palette } from "./theme.js";
import { rangeOf } from "./weights.js";

export function rolloutPart(context, layer, openMap) {
  const title = `Attention ${layer.label} through all layers`;
  const canvas = element("canvas", {
    class: "layers-map",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of a matrix",
    "aria-label": `${title}. Arrow keys move from cell to cell, Enter opens the map.`,
  });
  const curve = element("canvas", { class: "layers-curve", role: "img", "aria-label": "Mass received by each key (rollout)" });
  const nearby = element("p", { class: "layers-reading", "aria-hidden": "true" });
  const most = topList();
  const facts = layer.facts.map(([name, value]) => `${name} ${value}`).join("; ");
  const [queries, keys] = [layer.queries, layer.keys];
  let grid = null;
  let received = null;
  let box = null;
  let cell = null;

  const handlers = {
    rows: 1,
    columns: 1,
    locate: (x, y) => (box === null ? null : cellUnder(box, grid.rows, grid.columns, x, y)),
    current: () => cell,
    point: (there) => {
      if (there?.row === cell?.row && there?.column === cell?.column) return;
      cell = there;
      context.say(...(cell === null ? [] : reading()));
      nearby.replaceChildren(...(cell === null ? [] : reading()));
      draw();
    },
    pick: () => openMap(layer, 0),
    release: () => handlers.point(null),
  };
  watchGrid(canvas, handlers);

  function reading() {
    const [top, bottom] = [cell.row, cell.row + 1].map((at) => grid.rowEdges[at]);
    const [left, right] = [cell.column, cell.column + 1].map((at) => grid.columnEdges[at]);
    const many = bottom - top > 1 ? "queries " : "query ";
    const value = percent(grid.values[cell.row * grid.columns + cell.column]);
    return ["rollout, ", many, ...spanNodes(layer.side.rows, top, bottom), right - left > 1 ? " to keys " : " to key ", ...spanNodes(layer.side.columns, left, right), `: ${value}`];
  }

  const ready = Promise.all([layer.map([0]), profileOf(layer, [0], "received")]).then(([map, values]) => {
    [grid, received] = [map, values];
    [handlers.rows, handlers.columns] = [map.rows, map.columns];
    most.show({ values, layer });
    draw();
  });
  ready.catch((error) => context.say(`The rollout cannot be shown: ${error.message}`));

  function drawOn(surface, mark) {
    const open = openCanvas(surface);
    if (open === null || grid === null) return null;
    const colors = palette();
    const plotted = plotBox(open.width, open.height);
    const { high, smallest } = rangeOf(grid.values);
    const scale = makeScale(context.state.scale, high, smallest);
    open.context.imageSmoothingEnabled = false;
    open.context.drawImage(paintGrid(grid.values, 0, grid.rows, grid.columns, scale), plotted.x, plotted.y, plotted.width, plotted.height);
    drawBoxLine(open.context, plotted, colors);
    drawBottomAxis(open.context, plotted, positionTicks(keys, plotted.width), (p) => p / keys, whole, colors, "key");
    drawLeftAxis(open.context, plotted, positionTicks(queries, plotted.height), (p) => p / queries, whole, colors, { title: "query" });
    if (mark !== null) drawFrame(open.context, cellBox(plotted, grid.rows, grid.columns, mark));
    return plotted;
  }

  function draw() {
    if (grid === null) return;
    const width = canvas.clientWidth;
    canvas.style.height = `${Math.round((width - 84) * Math.max(0.5, Math.min(2, queries / keys))) + 50}px`;
    box = drawOn(canvas, cell) ?? box;
    drawReceived(curve);
  }

  function drawReceived(surface) {
    if (received !== null) drawCurve(surface, { values: received, length: keys, isStanding: false, marked: null, colors: palette(), title: "key", format: percent });
  }

  return {
    element: element(
      "div",
      { class: "layers-part" },
      element("div", { class: "layers-head-line" }, element("h3", { text: title }), element("button", { type: "button", text: "Open in the map", on: { click: () => openMap(layer, 0) } })),
      facts ? element("p", { class: "note", text: facts }) : null,
      element(
        "div",
        { class: "layers-rollout" },
        element("div", { class: "layers-figure" }, canvas, nearby),
        element("div", { class: "layers-curves" }, element("figure", { class: "layers-figure" }, element("figcaption", { text: "Mass received by each key" }), curve), most.element),
      ),
    ),
    title,
    draw,
    ready,
    drawMapOn: (surface) => drawOn(surface, null),
    drawReceivedOn: drawReceived,
  };
}
