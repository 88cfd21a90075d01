// A section about a matrix that was never stored: its pooled map, curves beside and below it, and facts.
import { readArray } from "./arrays.js";
import { drawBottomAxis, drawBoxLine, drawLeftAxis, EDGES, plotBox, positionTicks } from "./axes.js";
import { colorBar } from "./color-bar.js";
import { makeScale, SCALES } from "./color.js";
import { drawCurve } from "./curve.js";
import { choice, element, long, userText } from "./dom.js";
import { cellBox, drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { number, precise, span, whole } from "./format.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { palette } from "./theme.js";
import { perFrame } from "./timing.js";
import { rangeOf } from "./weights.js";

const WIDE = window.matchMedia("(min-width: 1000px)");
const CURVE_HEIGHT = 168;

export function matrixSection(section, page) {
  const [queries, keys] = section.shape;
  const [rows, columns] = section.pooled.shape;
  // What is marked: a span of queries, a span of keys, or both.
  const state = { cell: null, queries: null, keys: null, scale: "log", wasDrawn: false };
  const drawSoon = perFrame(draw);
  let mapBox = null;

  const map = element("canvas", {
    class: "map",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of a matrix",
    "aria-label": `${section.title}: ${rows} by ${columns} cells. Arrow keys move from cell to cell.`,
  });
  const bar = colorBar();
  const readout = long(element("p", { class: "readout", role: "status", "aria-live": "polite" }));
  const scale = choice("Color scale", SCALES, state.scale, (kind) => {
    state.scale = kind;
    draw();
  });
  const strips = section.rows.map((curve) => curveFigure(curve, queries, "query", "strip"));
  const lanes = section.columns.map((curve) => curveFigure(curve, keys, "key", "lane"));
  const mapTitle = `${whole(queries)} queries × ${whole(keys)} keys, in ${rows} × ${columns} cells`;
  const plots = element(
    "div",
    { class: "plots" },
    element("figure", { class: "map-figure" }, element("figcaption", { text: mapTitle }), map),
    ...strips.map((strip) => strip.element),
    ...lanes.map((lane) => lane.element),
  );
  const facts = element("dl", { class: "facts" });
  for (const [name, value] of section.facts) {
    facts.append(element("div", {}, userText(name, "dt"), userText(typeof value === "number" ? precise(value) : String(value), "dd")));
  }
  const reading = element("div", { class: "reading" }, bar.element, scale.element, readout);
  const side = element("div", { class: "side" }, facts);
  const figure = element("div", { class: "matrix-body" }, plots, side);
  const body = element("div", { class: "matrix" }, section.text ? userText(section.text, "p", { class: "lead" }) : null, figure);

  watchGrid(map, {
    rows,
    columns,
    locate: (x, y) => (mapBox === null ? null : cellUnder(mapBox, rows, columns, x, y)),
    current: () => state.cell,
    point: (cell) => mark(cell, cell && spanOf(cell.row, rows, queries), cell && spanOf(cell.column, columns, keys)),
    pick: (cell) => mark(cell, spanOf(cell.row, rows, queries), spanOf(cell.column, columns, keys)),
    release: () => mark(null, null, null),
  });
  for (const strip of strips) strip.watch((at) => mark(null, at, null));
  for (const lane of lanes) lane.watch((at) => mark(null, null, at));

  function mark(cell, querySpan, keySpan) {
    Object.assign(state, { cell, queries: querySpan, keys: keySpan });
    if (state.wasDrawn) drawSoon();
  }

  function draw() {
    state.wasDrawn = true;
    const isWide = WIDE.matches && !page.isPrinting();
    arrange(isWide);
    const width = map.clientWidth;
    const high = Math.round((width - EDGES.left - EDGES.right) * Math.min(1.4, Math.max(0.3, queries / keys)));
    map.style.height = `${high + EDGES.top + EDGES.bottom}px`;
    const colors = palette();
    drawMap(colors);
    for (const strip of strips) strip.draw(isWide, isWide ? map.style.height : `${CURVE_HEIGHT}px`, state.queries, colors);
    for (const lane of lanes) lane.draw(false, `${CURVE_HEIGHT}px`, state.keys, colors);
    readout.replaceChildren(...readoutWords());
  }

  // With enough space, curves of the queries stand beside the map and the readout beside both; without, all lie below it.
  function arrange(isWide) {
    figure.classList.toggle("wide", isWide);
    if (isWide && reading.parentNode !== side) side.append(reading);
    if (!isWide && reading.parentNode !== plots) map.parentNode.after(reading);
  }

  function drawMap(colors) {
    const open = openCanvas(map);
    if (open === null) return;
    const values = readArray(section.pooled);
    const { context } = open;
    mapBox = plotBox(open.width, open.height);
    const { high, smallest } = rangeOf(values);
    const colorScale = makeScale(state.scale, high, smallest);
    context.imageSmoothingEnabled = false;
    context.drawImage(paintGrid(values, 0, rows, columns, colorScale), mapBox.x, mapBox.y, mapBox.width, mapBox.height);
    drawBoxLine(context, mapBox, colors);
    drawBottomAxis(context, mapBox, positionTicks(keys, mapBox.width), (p) => p / keys, whole, colors, "key position");
    drawLeftAxis(context, mapBox, positionTicks(queries, mapBox.height), (p) => p / queries, whole, colors, {
      title: "query position",
    });
    if (state.cell !== null) drawFrame(context, cellBox(mapBox, rows, columns, state.cell));
    else drawBand(context, colors);
    bar.show(colorScale, section.cell, number);
  }

  // A position of a curve as a line through the map.
  function drawBand(context, colors) {
    context.fillStyle = colors.panel;
    context.globalAlpha = 0.8;
    if (state.queries !== null) context.fillRect(mapBox.x, mapBox.y + (state.queries[0] / queries) * mapBox.height, mapBox.width, 2);
    if (state.keys !== null) context.fillRect(mapBox.x + (state.keys[0] / keys) * mapBox.width, mapBox.y, 2, mapBox.height);
    context.globalAlpha = 1;
  }

  function readoutWords() {
    if (state.queries === null && state.keys === null) return ["Point at the map or at a curve to read its numbers."];
    const words = [];
    if (state.queries !== null) words.push(`queries ${span(...state.queries)}`);
    if (state.keys !== null) words.push(`keys ${span(...state.keys)}`);
    const parts = [words.join(", ")];
    if (state.cell !== null) {
      parts[0] += `: ${precise(readArray(section.pooled)[state.cell.row * columns + state.cell.column])}`;
    }
    if (state.queries !== null) for (const strip of strips) parts.push(strip.words(state.queries));
    if (state.keys !== null) for (const lane of lanes) parts.push(lane.words(state.keys));
    return parts.map((part) => element("span", { class: "line" }, part));
  }

  arrange(WIDE.matches);
  return { body, draw };
}

// A curve with its canvas; `length` is the number of positions that its points cover evenly.
function curveFigure(curve, length, side, kind) {
  const canvas = element("canvas", { class: "curve", role: "img", "aria-label": `${curve.name} at each ${side}` });
  const figure = element("figure", { class: kind }, userText(curve.name, "figcaption"), canvas);
  let box = null;
  let standing = false;
  return {
    element: figure,
    watch(point) {
      canvas.addEventListener("pointermove", (event) => {
        if (box === null) return;
        const along = standing ? (event.offsetY - box.y) / box.height : (event.offsetX - box.x) / box.width;
        const at = Math.floor(along * length);
        point(at >= 0 && at < length ? [at, at + 1] : null);
      });
      canvas.addEventListener("pointerleave", () => point(null));
    },
    draw(isStanding, height, marked, colors) {
      standing = isStanding;
      canvas.style.height = height;
      const title = isStanding ? "" : `${side} position`;
      box = drawCurve(canvas, { values: readArray(curve.values), length, isStanding, marked, colors, title });
    },
    words([start, end]) {
      const values = readArray(curve.values);
      const first = Math.floor((start * values.length) / length);
      const last = Math.max(first + 1, Math.ceil((end * values.length) / length));
      let sum = 0;
      for (let i = first; i < last; i++) sum += values[i];
      return element("span", {}, userText(curve.name), `: ${precise(sum / (last - first))}${last - first > 1 ? " on average" : ""}`);
    },
  };
}

// The positions [start, end) of one of `count` cells that share `length` positions.
function spanOf(index, count, length) {
  return [Math.floor((index * length) / count), Math.floor(((index + 1) * length) / count)];
}
