// A section of charts: lines over two axes, and maps of counts whose rows and columns have names.
import { readArray } from "./arrays.js";
import { axisRange, drawBottomAxis, drawBoxLine, drawLeftAxis, EDGES, plotBox, trace, valueTicks } from "./axes.js";
import { makeScale } from "./color.js";
import { element, long, userText } from "./dom.js";
import { cellBox, drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { number, percent, whole } from "./format.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { palette } from "./theme.js";
import { perFrame } from "./timing.js";

const FONT = "12px system-ui, sans-serif";
const MOST_LETTERS = 18;
const LETTER = 6.6; // pixels
const DASHES = [[], [6, 4], [2, 3], [9, 3, 2, 3]];
const SMALLEST_CELL = 24; // pixels, in which a count can be read

export function chartsSection(section) {
  const charts = section.charts.map((chart) => (chart.kind === "heat" ? heatFigure(chart) : lineFigure(chart)));
  const body = element(
    "div",
    { class: "charts" },
    section.text ? userText(section.text, "p", { class: "lead" }) : null,
    element("div", { class: "chart-grid" }, ...charts.map((chart) => chart.element)),
  );
  return { body, draw: () => charts.forEach((chart) => chart.draw(palette())) };
}

function lineFigure(chart) {
  const lines = chart.lines.map((line) => ({ ...line, xs: readArray(line.x), ys: readArray(line.y) }));
  const places = lines.map((_, i) => lines.slice(0, i).filter((line) => line.style !== "dashed").length);
  const names = lines.map((line) => line.name).join(", ");
  const canvas = element("canvas", { class: "chart", role: "img", "aria-label": `${chart.title}: ${names}. ${chart.y} by ${chart.x}.` });
  const keys = lines.map((line, index) => ({ line, index: places[index], canvas: element("canvas", { class: "chart-key", "aria-hidden": "true" }) }));
  const legend = element("p", { class: "legend" }, ...keys.map((key) => element("span", {}, key.canvas, userText(key.line.name))));
  const made = element("figure", {}, userText(chart.title, "figcaption"), canvas, lines.length > 1 ? legend : null);
  return { element: made, draw };

  function draw(colors) {
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context } = open;
    const box = plotBox(open.width, open.height);
    const [across, up] = [axisRange(lines.flatMap((line) => [...line.xs]), 0), axisRange(lines.flatMap((line) => [...line.ys]), 0.04)];
    const [alongX, alongY] = [across, up].map((range) => (value) => (value - range.low) / (range.high - range.low));
    const at = (x, y) => [box.x + alongX(x) * box.width, box.y + (1 - alongY(y)) * box.height];
    lines.forEach((line, index) => {
      const points = Array.from(line.xs, (x, i) => at(x, line.ys[i]));
      stroke(context, points, line, places[index], colors);
    });
    drawBoxLine(context, box, colors);
    drawBottomAxis(context, box, valueTicks(across.low, across.high, 4), alongX, number, colors, chart.x);
    drawLeftAxis(context, box, valueTicks(up.low, up.high, 4), alongY, number, colors, { isUp: true, title: chart.y });
    for (const key of keys) {
      const small = openCanvas(key.canvas);
      if (small !== null) stroke(small.context, [[1, 7], [12, 7], [23, 7]], key.line, key.index, colors);
    }
  }
}

// A line in the style that its place among the others gives it, so that no color alone tells them apart.
function stroke(context, points, line, index, colors) {
  const color = line.style === "dashed" ? colors.muted : index % 2 === 0 ? colors.accent : colors.ink;
  context.strokeStyle = context.fillStyle = color;
  context.lineWidth = line.style === "dashed" ? 1 : 1.75;
  context.lineJoin = "round";
  context.setLineDash(line.style === "dashed" ? DASHES[1] : DASHES[index % DASHES.length]);
  if (line.style !== "points") {
    trace(context, points);
    context.stroke();
  }
  context.setLineDash([]);
  if (line.style === "line" && points.length > 1) return;
  if (line.style === "dashed") return;
  context.globalAlpha = line.style === "points" ? 0.6 : 1;
  for (const [x, y] of points) {
    context.beginPath();
    context.arc(x, y, 3, 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

function heatFigure(chart) {
  const [rows, columns] = chart.counts.shape;
  const counts = readArray(chart.counts);
  const sums = chart.rows.map((_, row) => counts.subarray(row * columns, (row + 1) * columns).reduce((sum, count) => sum + count, 0));
  const shares = Float32Array.from(counts, (count, i) => count / Math.max(1, sums[Math.floor(i / columns)]));
  const scale = makeScale("linear", 1);
  let [cell, box] = [null, null];
  const canvas = element("canvas", {
    class: "chart heat",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of counts",
    "aria-label": `${chart.title}: ${rows} by ${columns} cells. Arrow keys move from cell to cell.`,
  });
  const readout = long(element("p", { class: "readout", role: "status", "aria-live": "polite", text: "Point at a cell to read it." }));
  const made = element("figure", { class: "heat-figure" }, userText(chart.title, "figcaption"), canvas, readout);
  const drawSoon = perFrame(() => draw(palette()));
  watchGrid(canvas, {
    rows,
    columns,
    locate: (x, y) => (box === null ? null : cellUnder(box, rows, columns, x, y)),
    current: () => cell,
    point: mark,
    pick: mark,
    release: () => mark(null),
  });
  return { element: made, draw };

  function mark(found) {
    cell = found;
    readout.textContent = found === null ? "Point at a cell to read it." : words(found);
    drawSoon();
  }

  function words({ row, column }) {
    const at = row * columns + column;
    return `${chart.row_title} ${chart.rows[row]}, ${chart.column_title} ${chart.columns[column]}: ${whole(counts[at])} of ${whole(sums[row])}, ${percent(shares[at])}`;
  }

  function draw(colors) {
    const room = (names) => Math.ceil(LETTER * Math.max(...names.map((name) => Math.min(name.length, MOST_LETTERS)))) + 14;
    const edges = { ...EDGES, left: 22 + room(chart.rows), bottom: 24 + room(chart.columns) };
    const size = Math.min(44, Math.max(14, (canvas.clientWidth - edges.left - edges.right) / columns));
    canvas.style.height = `${Math.round(rows * size + edges.top + edges.bottom)}px`;
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context } = open;
    box = { ...plotBox(open.width, open.height, edges), width: Math.min(columns * size, open.width - edges.left - edges.right) };
    context.imageSmoothingEnabled = false;
    context.drawImage(paintGrid(shares, 0, rows, columns, scale), box.x, box.y, box.width, box.height);
    drawBoxLine(context, box, colors);
    drawNames(context, colors);
    if (box.width / columns >= SMALLEST_CELL && box.height / rows >= SMALLEST_CELL / 1.5) drawCounts(context);
    if (cell !== null) drawFrame(context, cellBox(box, rows, columns, cell));
  }

  function drawNames(context, colors) {
    context.font = FONT;
    context.fillStyle = colors.ink;
    context.textBaseline = "middle";
    context.textAlign = "right";
    chart.rows.forEach((name, row) => context.fillText(short(name), box.x - 7, box.y + ((row + 0.5) * box.height) / rows));
    chart.columns.forEach((name, column) => turned(context, short(name), box.x + ((column + 0.5) * box.width) / columns, box.y + box.height + 7));
    context.fillStyle = colors.muted;
    context.textAlign = "center";
    turned(context, chart.row_title, 8, box.y + box.height / 2);
    context.fillText(chart.column_title, box.x + box.width / 2, canvas.clientHeight - 9);
  }

  function drawCounts(context) {
    context.textAlign = "center";
    counts.forEach((count, i) => {
      if (count === 0) return;
      context.fillStyle = shares[i] > 0.6 ? "#000" : "#fff";
      context.fillText(whole(count), box.x + (((i % columns) + 0.5) * box.width) / columns, box.y + ((Math.floor(i / columns) + 0.5) * box.height) / rows);
    });
  }
}

function turned(context, text, x, y) {
  context.save();
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.fillText(text, 0, 0);
  context.restore();
}

function short(name) {
  return name.length <= MOST_LETTERS ? name : `${name.slice(0, MOST_LETTERS - 1)}…`;
}
