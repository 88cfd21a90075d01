// One number of every head, layer by layer: heads as dots, their mean as a line.
import { drawBoxLine, drawLeftAxis, plotBox, valueLabel, valueTicks } from "./axes.js";
import { element, number } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { palette } from "./theme.js";

// What the numbers of a head are called, in the order in which they are offered.
export const NUMBER_NAMES = {
  entropy: "entropy of a row (nat)",
  distance: "distance from query to key (positions)",
  first: "mass on the first key (sink)",
  largest: "largest weight of a row",
  received: "most that one key receives (share of all)",
  previous: "mass on the previous key",
  current: "mass on the key of the query's own place",
  next: "mass on the next key",
  same: "mass on the same token elsewhere",
  induction: "mass on what followed the same token",
  separator: "mass on separators",
  local: "mass nearby, beyond chance",
  uniform: "evenness (1: all keys alike)",
  alignment: "alignment (1: walks along the keys)",
};

const EDGES = { left: 62, right: 10, top: 12, bottom: 28 };
const TITLE = 18; // more below, where the layers are numbers and the axis says of what
const FONT = "12px system-ui, sans-serif";
const REACH = 16; // pixels from a dot at which it is still pointed at
const SPREAD = 0.62; // of a layer's width that its dots take
const DASHES = [[], [6, 4], [2, 3], [8, 3, 2, 3]];

// The numbers that some head of these layers has.
export function numbersOf(layers) {
  return Object.keys(NUMBER_NAMES).filter((name) => layers.some((layer) => layer.numbers[name]?.some((value) => value !== null)));
}

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
    "aria-label": "A number of every head by layer. Left and right arrows move from layer to layer, up and down from head to head, Enter chooses.",
  });
  let dots = [];
  let box = null;
  let pointed = null;

  canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && point(nearest(event)));
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("click", (event) => {
    const dot = nearest(event);
    if (dot !== null) take(dot);
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
    return order[Math.max(0, Math.min(order.length - 1, order.indexOf(from) + step))];
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
  const colours = palette();
  const labels = labelsOf(pen, layers, (width - EDGES.left - EDGES.right) / layers.length);
  const box = plotBox(width, height, { ...EDGES, bottom: EDGES.bottom + (labels.areNames ? 0 : TITLE) });
  const values = layers.flatMap((layer) => (layer.numbers[by] ?? []).filter((value) => value !== null));
  if (values.length === 0) return { dots: [], box };
  const range = rangeOf(values);
  const band = box.width / layers.length;
  const placeY = (value) => box.y + box.height * (1 - (value - range.low) / (range.high - range.low));
  const ticks = valueTicks(range.low, range.high, 4);

  const chosen = layers.indexOf(context.layer());
  pen.fillStyle = colours.line;
  pen.globalAlpha = 0.4;
  if (chosen >= 0) pen.fillRect(box.x + chosen * band, box.y, band, box.height);
  pen.globalAlpha = 0.7;
  for (const tick of ticks) pen.fillRect(box.x, Math.round(placeY(tick)), box.width, 1);
  pen.globalAlpha = 1;
  drawMeans(pen, layers, by, (at) => box.x + (at + 0.5) * band, placeY, band, colours);

  const radius = Math.max(2, Math.min(4, band / 12));
  const heads = context.heads();
  const dots = [];
  layers.forEach((layer, at) => {
    (layer.numbers[by] ?? []).forEach((value, head) => {
      if (value === null) return;
      const x = box.x + (at + 0.5 + SPREAD * ((head + 0.5) / layer.heads - 0.5)) * band;
      dots.push({ layer, head, value, x, y: placeY(value), isChosen: at === chosen && heads.length < layer.heads && heads.includes(head) });
    });
  });
  for (const dot of dots) if (!dot.isChosen) drawDot(pen, dot, radius, colours.muted, 0.65);
  for (const dot of dots) if (dot.isChosen) drawDot(pen, dot, radius + 1.5, colours.accent, 1);
  const marked = dots.find((dot) => same(dot, pointed));
  if (marked) {
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2;
    circle(pen, marked.x, marked.y, radius + 4);
    pen.stroke();
  }
  drawBoxLine(pen, box, colours);
  drawLeftAxis(pen, box, ticks, (tick) => (tick - range.low) / (range.high - range.low), valueLabel, colours, { isUp: true });
  drawLabels(pen, labels, box, band, colours);
  return { dots, box };
}

function drawDot(pen, { x, y }, radius, colour, opacity) {
  pen.fillStyle = colour;
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

function drawMeans(pen, layers, by, placeX, placeY, band, colours) {
  pen.strokeStyle = colours.accent;
  pen.lineJoin = "round";
  groupsOf(layers).forEach((group, kind) => {
    pen.lineWidth = 2;
    pen.setLineDash(DASHES[kind % DASHES.length]);
    pen.beginPath();
    let isFirst = true;
    layers.forEach((layer, at) => {
      const mean = groupOf(layer) === group ? meanOfKnown(layer.numbers[by] ?? []) : null;
      if (mean === null) return;
      if (isFirst) pen.moveTo(placeX(at), placeY(mean));
      else pen.lineTo(placeX(at), placeY(mean));
      isFirst = false;
    });
    pen.stroke();
    pen.setLineDash([]);
    layers.forEach((layer, at) => {
      const mean = groupOf(layer) === group ? meanOfKnown(layer.numbers[by] ?? []) : null;
      if (mean === null) return;
      pen.lineWidth = 3;
      pen.beginPath();
      pen.moveTo(placeX(at) - (SPREAD * band) / 2, placeY(mean));
      pen.lineTo(placeX(at) + (SPREAD * band) / 2, placeY(mean));
      pen.stroke();
    });
  });
}

// The names of the layers, or, where these have no room, the numbers in them.
function labelsOf(pen, layers, band) {
  pen.font = FONT;
  const width = (texts) => Math.max(...texts.map((text) => pen.measureText(text).width)) + 10;
  const names = layers.map((layer) => layer.label);
  if (width(names) <= band) return { texts: names, every: 1, areNames: true };
  const texts = layers.map((layer, at) => layer.label.match(/\d+(?=\D*$)/)?.[0] ?? String(at));
  return { texts, every: Math.max(1, Math.ceil(width(texts) / band)), areNames: false };
}

function drawLabels(pen, { texts, every, areNames }, box, band, colours) {
  pen.font = FONT;
  pen.fillStyle = colours.muted;
  pen.textBaseline = "top";
  pen.textAlign = "center";
  texts.forEach((text, at) => at % every === 0 && pen.fillText(text, box.x + (at + 0.5) * band, box.y + box.height + 8));
  if (!areNames) pen.fillText("layer", box.x + box.width / 2, box.y + box.height + 26);
}

function rangeOf(values) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low >= 0 && low < high / 2) low = 0;
  if (high - low < Math.abs(high) * 1e-6 || high === low) return { low: low - (Math.abs(low) * 0.05 || 0.5), high: high + (Math.abs(high) * 0.05 || 0.5) };
  const room = (high - low) * 0.06;
  return { low: low === 0 ? 0 : low - room, high: high + room };
}

function same(a, b) {
  return a === b || (Boolean(a) && Boolean(b) && a.layer === b.layer && a.head === b.head);
}

// What one dot says.
export function dotWords(layer, head, by) {
  const mean = meanOfKnown(layer.numbers[by]);
  return `${layer.label}, head ${head}: ${NUMBER_NAMES[by]} ${number(layer.numbers[by][head])}; mean of the layer ${number(mean)}`;
}
