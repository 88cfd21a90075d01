// One number of every head, layer by layer: heads as dots, their mean as a line.
import { axisRange, drawBoxLine, drawLeftAxis, plotBox, trace, valueTicks } from "./axes.js";
import { element } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { isShare, numberMeaning, valueWords } from "./head-numbers.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { palette } from "./theme.js";

const EDGES = { left: 62, right: 10, top: 12, bottom: 28 };
const TITLE = 18; // more below, where the layers are numbers and the axis says of what
const FONT = "12px system-ui, sans-serif";
const REACH = 16; // pixels from a dot at which it is still pointed at
const SPREAD = 0.62; // of a layer's width that its dots take
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

// A mean of what is a number; null where nothing is.
function meanOfKnown(values) {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

// The plot; `by()` says which number, `pick(layer, head)` takes a head, `told(layer, head)` says what is pointed at.
export function dotsPlot(context, layers, { by, pick, told }) {
  const canvas = element("canvas", {
    class: "layers-dots",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "plot of heads",
    "aria-label": "One number of every head, by layer. Left and right arrows move between layers, up and down between heads, Enter selects a head.",
  });
  let dots = [];
  let box = null;
  let pointed = null;

  watchPointer(canvas, nearest, { point, pick: take });
  canvas.addEventListener("keydown", (event) => {
    if (hasModifier(event)) return;
    if (event.key === "Escape") point(null);
    else if (event.key === "Enter" || event.key === " ") take(current());
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") point(sideways(event.key === "ArrowRight" ? 1 : -1));
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") point(upwards(event.key === "ArrowUp" ? 1 : -1));
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function take(dot) {
    if (dot === null || dot === undefined) return;
    point(dot);
    pick(dot.layer, dot.head);
  }

  function point(dot) {
    if (dot === undefined || same(dot, pointed)) return;
    pointed = dot;
    told(dot?.layer ?? null, dot?.head);
    draw();
  }

  // The dot that keys move from: the pointed one, or that of the chosen head.
  function current() {
    const [layer, heads] = [context.layer(), context.heads()];
    return dots.find((dot) => same(dot, pointed)) ?? dots.find((dot) => dot.layer === layer && dot.head === heads[0]) ?? dots[0];
  }

  function sideways(step) {
    const from = current();
    for (let at = layers.indexOf(from?.layer) + step; at >= 0 && at < layers.length; at += step) {
      const there = dots.filter((dot) => dot.layer === layers[at]);
      if (there.length > 0) return there.find((dot) => dot.head === from.head) ?? there.at(-1);
    }
    return from;
  }

  function upwards(step) {
    const from = current();
    const order = dots.filter((dot) => dot.layer === from?.layer).sort((a, b) => a.value - b.value || a.head - b.head);
    return order[clamp(order.indexOf(from) + step, order.length)];
  }

  function nearest(event) {
    let [best, least] = [null, REACH];
    for (const dot of dots) {
      const away = Math.hypot(dot.x - event.offsetX, dot.y - event.offsetY);
      if (away < least) [best, least] = [dot, away];
    }
    return best;
  }

  function draw() {
    const open = openCanvas(canvas);
    if (open !== null) ({ dots, box } = drawDots(open, context, layers, by(), pointed));
  }

  return { element: canvas, draw, box: () => box, drawOn: (surface) => drawDots(openCanvas(surface), context, layers, by(), null) };
}

function drawDots({ context: pen, width, height }, context, layers, by, pointed) {
  const colors = palette();
  const labels = labelsOf(pen, layers, (width - EDGES.left - EDGES.right) / layers.length);
  const box = plotBox(width, height, { ...EDGES, bottom: EDGES.bottom + (labels.areNames ? 0 : TITLE) });
  const values = layers.flatMap((layer) => (layer.numbers[by] ?? []).filter((value) => value !== null));
  if (values.length === 0) return { dots: [], box };
  const range = axisRange(values, 0.06);
  if (isShare(by)) Object.assign(range, { low: Math.max(0, range.low), high: Math.min(1, range.high) });
  const band = box.width / layers.length;
  const yOf = (value) => box.y + box.height * (1 - (value - range.low) / (range.high - range.low));
  const ticks = valueTicks(range.low, range.high, 4);

  const chosen = layers.indexOf(context.layer());
  pen.fillStyle = colors.line;
  pen.globalAlpha = 0.4;
  if (chosen >= 0) pen.fillRect(box.x + chosen * band, box.y, band, box.height);
  pen.globalAlpha = 0.7;
  for (const tick of ticks) pen.fillRect(box.x, Math.round(yOf(tick)), box.width, 1);
  pen.globalAlpha = 1;
  drawMeans(pen, layers, by, (at) => box.x + (at + 0.5) * band, yOf, band, colors);

  const radius = Math.max(2, Math.min(4, band / 12));
  const heads = context.heads();
  const dots = [];
  layers.forEach((layer, at) => {
    (layer.numbers[by] ?? []).forEach((value, head) => {
      if (value === null) return;
      const x = box.x + (at + 0.5 + SPREAD * ((head + 0.5) / layer.heads - 0.5)) * band;
      dots.push({ layer, head, value, x, y: yOf(value), isChosen: at === chosen && heads.length < layer.heads && heads.includes(head) });
    });
  });
  for (const dot of dots) if (!dot.isChosen) drawDot(pen, dot, radius, colors.muted, 0.65);
  for (const dot of dots) if (dot.isChosen) drawDot(pen, dot, radius + 1.5, colors.accent, 1);
  const marked = dots.find((dot) => same(dot, pointed));
  if (marked) {
    pen.strokeStyle = colors.ink;
    pen.lineWidth = 2;
    circle(pen, marked.x, marked.y, radius + 4);
    pen.stroke();
  }
  drawBoxLine(pen, box, colors);
  drawLeftAxis(pen, box, ticks, (tick) => (tick - range.low) / (range.high - range.low), (tick) => valueWords(by, tick), colors, { isUp: true });
  drawLabels(pen, labels, box, band, colors);
  return { dots, box };
}

function drawDot(pen, { x, y }, radius, color, opacity) {
  pen.fillStyle = color;
  pen.globalAlpha = opacity;
  circle(pen, x, y, radius);
  pen.fill();
  pen.globalAlpha = 1;
}

function circle(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
}

// Kinds of layers that stand in one list each have a line of their own, told apart by their dashes.
export function groupsOf(layers) {
  return [...new Set(layers.map(groupOf))];
}

function groupOf(layer) {
  return `${layer.kind} attention, ${layer.side.rows.name || "queries"} to ${layer.side.columns.name || "keys"}`;
}

function drawMeans(pen, layers, by, xOf, yOf, band, colors) {
  pen.strokeStyle = colors.accent;
  pen.lineJoin = "round";
  groupsOf(layers).forEach((group, kind) => {
    pen.lineWidth = 2;
    pen.setLineDash(DASHES[kind % DASHES.length]);
    const means = layers.map((layer) => (groupOf(layer) === group ? meanOfKnown(layer.numbers[by] ?? []) : null));
    const known = [...means.keys()].filter((at) => means[at] !== null);
    trace(pen, known.map((at) => [xOf(at), yOf(means[at])]));
    pen.stroke();
    pen.setLineDash([]);
    pen.lineWidth = 3;
    for (const at of known) {
      trace(pen, [-1, 1].map((side) => [xOf(at) + (side * SPREAD * band) / 2, yOf(means[at])]));
      pen.stroke();
    }
  });
}

// The names of the layers, or, where there is no space for them, the numbers in them.
function labelsOf(pen, layers, band) {
  pen.font = FONT;
  const width = (texts) => Math.max(...texts.map((text) => pen.measureText(text).width)) + 10;
  const names = layers.map((layer) => layer.label);
  if (width(names) <= band) return { texts: names, every: 1, areNames: true };
  const texts = layers.map((layer, at) => layer.label.match(/\d+(?=\D*$)/)?.[0] ?? String(at));
  return { texts, every: Math.max(1, Math.ceil(width(texts) / band)), areNames: false };
}

function drawLabels(pen, { texts, every, areNames }, box, band, colors) {
  pen.font = FONT;
  pen.fillStyle = colors.muted;
  pen.textBaseline = "top";
  pen.textAlign = "center";
  texts.forEach((text, at) => at % every === 0 && pen.fillText(text, box.x + (at + 0.5) * band, box.y + box.height + 8));
  if (!areNames) pen.fillText("layer", box.x + box.width / 2, box.y + box.height + 26);
}

function same(a, b) {
  return a === b || (Boolean(a) && Boolean(b) && a.layer === b.layer && a.head === b.head);
}

// What one dot says.
export function dotWords(layer, head, by) {
  const mean = meanOfKnown(layer.numbers[by]);
  return `${layer.label}, head ${head}: ${numberMeaning(by)} ${valueWords(by, layer.numbers[by][head])}; mean of the layer ${valueWords(by, mean)}`;
}
