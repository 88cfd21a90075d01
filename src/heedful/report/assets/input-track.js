// A side as an axis from left to right: a sound in seconds, a series in steps, or bare positions; weights below it as a
// ribbon of colors and as a curve.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, trace, TRACK_EDGES, valueTicks } from "./axes.js";
import { peaksOf } from "./cells.js";
import { element } from "./dom.js";
import { openCanvas, paintGrid } from "./drawing.js";
import { number } from "./format.js";
import { drawLane, lanesOf } from "./input-lanes.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { axisOf } from "./positions.js";
import { rangeOf } from "./weights.js";

const GAP = 8; // pixels between lanes
const [RIBBON, CURVE] = [14, 88]; // heights in pixels
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

// `role` is "query", "key" or "both"; `act` is { current(), point(position), pick(position), release() };
// `channels()` names the channels of a series that are shown.
export function trackPanel(side, { role, act, channels }) {
  const isKey = role !== "query";
  const lanes = lanesOf(side);
  const unit = { sound: "time", series: "steps" }[side.kind] ?? "positions";
  const canvas = element("canvas", {
    class: "input-track",
    tabindex: "0",
    role: "application",
    "aria-roledescription": `${side.kind === "sound" || side.kind === "series" ? side.kind : "axis"} over ${unit}`,
    "aria-label": `${side.name}: ${side.count} positions. Left and right arrow keys move along it, Page Up and Page Down by ten.`,
  });
  let plot = null;
  watchLine(canvas, { count: side.count, act, box: () => plot });

  return {
    element: canvas,
    canvas,
    draw({ weights, scale, shown, pinned, probe, colors }) {
      const visible = lanes(channels?.() ?? null);
      const top = visible.reduce((sum, lane) => sum + lane.height + GAP, 0);
      const height = TRACK_EDGES.top + top + (isKey ? RIBBON + GAP + CURVE : 0) + TRACK_EDGES.bottom - (isKey ? 0 : GAP);
      if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
      const open = openCanvas(canvas);
      if (open === null) return;
      const { context } = open;
      plot = plotBox(open.width, height, TRACK_EDGES);
      let y = TRACK_EDGES.top;
      for (const lane of visible) {
        drawLane(context, { ...plot, y, height: lane.height }, lane, colors);
        y += lane.height + GAP;
      }
      if (isKey) {
        drawRibbon(context, { ...plot, y, height: RIBBON }, weights, scale);
        y += RIBBON + GAP;
        drawWeights(context, { ...plot, y, height: CURVE }, weights, colors);
      }
      const { length, title, format } = axisOf(side);
      drawBottomAxis(context, plot, valueTicks(0, length, plot.width < 360 ? 3 : 6), (tick) => tick / length, format, colors, title);
      if (probe !== null) drawMark(context, plot, side.count, probe, colors, true);
      if (shown !== null && role !== "key") drawMark(context, plot, side.count, shown, colors, false);
    },
  };
}

// Weights as one row of colors, the peak of each pixel.
export function drawRibbon(context, box, weights, scale) {
  const peaks = peaksOf(weights, box.width);
  context.imageSmoothingEnabled = false;
  context.drawImage(paintGrid(peaks, 0, 1, peaks.length, scale), box.x, box.y, box.width, box.height);
}

function drawWeights(context, box, weights, colors) {
  const peaks = peaksOf(weights, box.width);
  const { high } = rangeOf(weights);
  const fraction = (weight) => (high > 0 ? weight / (high * 1.06) : 0);
  context.beginPath();
  context.moveTo(box.x, box.y + box.height);
  for (let cell = 0; cell < peaks.length; cell++) {
    const y = box.y + (1 - fraction(peaks[cell])) * box.height;
    context.lineTo(box.x + (cell / peaks.length) * box.width, y);
    context.lineTo(box.x + ((cell + 1) / peaks.length) * box.width, y);
  }
  context.lineTo(box.x + box.width, box.y + box.height);
  context.fillStyle = colors.accent;
  context.globalAlpha = 0.28;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.25;
  context.stroke();
  drawBoxLine(context, box, colors);
  if (high > 0) drawLeftAxis(context, box, valueTicks(0, high, 2), fraction, percentTick, colors, { isUp: true });
}

function percentTick(share) {
  return `${number(100 * share)}\u00a0%`;
}

// A position as a line over the whole plot with space for what it covers; dashed for what is only pointed at.
function drawMark(context, plot, count, position, colors, isDashed) {
  const width = plot.width / count;
  const x = plot.x + position * width;
  context.fillStyle = colors.ink;
  context.globalAlpha = 0.16;
  context.fillRect(x, plot.y, Math.max(1, width), plot.height);
  context.globalAlpha = 1;
  context.strokeStyle = colors.ink;
  context.lineWidth = isDashed ? 1 : 2;
  context.setLineDash(isDashed ? [4, 3] : []);
  trace(context, [[x + width / 2, plot.y], [x + width / 2, plot.y + plot.height]]);
  context.stroke();
  context.setLineDash([]);
}

// Pointing along a line: `box()` is the plot, or null before it was drawn.
function watchLine(canvas, { count, act, box }) {
  const at = (event) => {
    const plot = box();
    const along = plot === null ? -1 : (event.offsetX - plot.x) / plot.width;
    return along < 0 || along >= 1 ? null : Math.floor(along * count);
  };
  watchPointer(canvas, at, act);
  canvas.addEventListener("keydown", (event) => {
    if (hasModifier(event)) return;
    const from = act.current() ?? Math.floor(count / 2);
    const step = (STEPS[event.key] ?? 0) * (event.shiftKey ? 10 : 1);
    if (step !== 0) act.point(act.current() === null ? from : clamp(from + step, count));
    else if (event.key === "Home") act.point(0);
    else if (event.key === "End") act.point(count - 1);
    else if (event.key === "Enter" || event.key === " ") act.pick(from);
    else return;
    event.preventDefault();
  });
}
