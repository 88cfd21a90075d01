// Queries on the left, keys on the right, and lines between them: of what is in view, and of what is pointed at.
import { element } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { pinDash } from "./text-pins.js";
import { slices } from "./timing.js";
import { largestOf } from "./weights.js";

const EACH = 4; // lines of a query that nobody points at
const LEAST = 0.1; // of its largest weight, from which a line of it is drawn
const LEAST_STRONG = 0.01; // the same of what is pointed at
const MOST = 400; // lines of one that is pointed at
const SLICE = 8; // milliseconds of reading before the page may draw

// The frame with two lists side by side. `scrolled` is called when they are scrolled.
export function columnFrame(scrolled) {
  const canvas = element("canvas", { class: "text-canvas", "aria-hidden": "true" });
  const between = element("div", { class: "text-between" }, element("div", { class: "text-pinboard" }, canvas));
  const pair = element("div", { class: "text-pair" });
  const scroller = element("div", { class: "text-columns", on: { scroll: scrolled } }, pair);
  return {
    element: scroller,
    canvas,
    show(left, right) {
      pair.replaceChildren(left, between, right);
    },
  };
}

// The few lines of each query in view, read little by little: `ready` is called when there are more to draw.
export function faintLines(ready) {
  const known = new Map(); // query to its lines
  let serial = 0;

  async function want(readings, units) {
    const own = ++serial;
    const pause = slices(SLICE);
    let isNew = false;
    for (const unit of units) {
      if (known.has(unit)) continue;
      const reading = await readings.read("out", unit);
      if (own !== serial) return;
      known.set(unit, strongest(reading, LEAST, EACH));
      isNew = true;
      if (!(await pause())) continue;
      if (own !== serial) return;
      ready();
    }
    if (isNew) ready();
  }

  return {
    want,
    of: (units) => units.flatMap((unit) => known.get(unit) ?? []),
    forget() {
      serial++;
      known.clear();
    },
  };
}

// The lines of a reading that are worth drawing, those of at least a share of the largest: [{ from, to, weight }], from
// queries to keys.
function strongest(reading, least, most = MOST) {
  const { direction, unit, weights } = reading;
  const best = largestOf(weights, most);
  const high = best.length ? weights[best[0]] : 0;
  const kept = best.filter((u) => weights[u] >= least * high);
  return kept.map((u) => ({ ...(direction === "in" ? { from: u, to: unit } : { from: unit, to: u }), weight: weights[u] }));
}

// Draws the lines between two lists: few and faint ones of all that is in view, strong ones of what is pointed at or pinned.
export function drawConnections(frame, { queries, keys }, { faint, readings, shown: { main, scale, pinned }, colors }, canvas = frame.canvas) {
  const inView = queries.unitsInView();
  faint.want(readings, inView);
  const isAlone = main.direction === "received";
  const strong = (reading, at, least) => ({ opacity: 0.95, widest: 4, dash: [], fraction: ({ weight }) => at.fraction(weight), lines: strongest(reading, least) });
  const groups = [{ color: colors.muted, dash: [], opacity: isAlone ? 0.75 : 0.12, widest: 2, fraction: ({ weight }) => weight, lines: faint.of(inView) }];
  for (const pin of pinned) {
    const isMain = pin.reading === main;
    groups.push({ ...strong(pin.reading, pin.scale, isMain ? LEAST_STRONG : LEAST), color: colors.pins[pin.at], opacity: isMain ? 0.95 : 0.6, dash: pinDash(pin.at) });
  }
  if (!isAlone && !pinned.some(({ reading }) => reading === main)) groups.push({ ...strong(main, scale, LEAST_STRONG), color: main.direction === "in" ? colors.in : colors.accent });
  const view = frame.element;
  if (canvas === frame.canvas) canvas.style.height = `${view.clientHeight}px`;
  const heightOf = (list) => (unit) => list.middleOf(unit) - view.scrollTop;
  drawGroups(canvas, { left: heightOf(queries), right: heightOf(keys) }, groups);
}

// Groups of lines, the first at the bottom: [{ color, dash, opacity, widest, fraction, lines }]. `left` and
// `right` say where a unit stands, from the top of the canvas.
function drawGroups(canvas, { left, right }, groups) {
  const open = openCanvas(canvas);
  if (open === null) return;
  const { context, width, height } = open;
  context.lineCap = "round";
  for (const { color, dash, opacity, widest, fraction, lines } of groups) {
    context.strokeStyle = color;
    context.setLineDash(dash);
    for (const line of lines) {
      const [from, to] = [left(line.from), right(line.to)];
      if (Math.max(from, to) < 0 || Math.min(from, to) > height) continue;
      const share = Math.max(0, Math.min(1, fraction(line)));
      context.globalAlpha = opacity * (0.1 + 0.9 * share);
      context.lineWidth = 0.75 + (widest - 0.75) * share;
      context.beginPath();
      context.moveTo(0, from);
      context.bezierCurveTo(width * 0.4, from, width * 0.6, to, width, to);
      context.stroke();
    }
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}
