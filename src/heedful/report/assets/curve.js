// A curve over positions, lying (positions to the right) or standing (positions downwards, beside a map).
import { axisRange, drawBottomAxis, drawBoxLine, drawLeftAxis, EDGES, plotBox, positionTicks, trace, valueTicks } from "./axes.js";
import { openCanvas } from "./drawing.js";
import { number, whole } from "./format.js";

const STANDING_EDGES = { ...EDGES, left: 14 };

// Draws `values` over `length` positions and returns the box of the plot. `marked` is a span [start, end) or null.
export function drawCurve(canvas, { values, length, isStanding, marked, colors, title, format = number }) {
  const open = openCanvas(canvas);
  if (open === null) return null;
  const { context } = open;
  const box = plotBox(open.width, open.height, isStanding ? STANDING_EDGES : EDGES);
  const range = axisRange(values, 0.04);
  const fraction = (value) => (value - range.low) / (range.high - range.low);
  const at = isStanding
    ? (along, value) => [box.x + fraction(value) * box.width, box.y + along * box.height]
    : (along, value) => [box.x + along * box.width, box.y + (1 - fraction(value)) * box.height];

  if (marked !== null) drawMark(context, box, marked, length, isStanding, colors);
  const steps = stepsOf(values, Math.round(isStanding ? box.height : box.width));
  context.fillStyle = colors.accent;
  context.globalAlpha = 0.25;
  trace(context, [...steps.map((s) => at(s.along, s.low)), ...steps.map((s) => at(s.along, s.high)).reverse()]);
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  trace(context, steps.map((s) => at(s.along, s.mean)));
  context.stroke();

  drawBoxLine(context, box, colors);
  const ticks = valueTicks(range.low, range.high, isStanding ? 2 : 3);
  const positions = positionTicks(length, isStanding ? box.height : box.width);
  const along = (position) => position / length;
  if (isStanding) {
    drawBottomAxis(context, box, ticks, fraction, format, colors, title);
  } else {
    drawLeftAxis(context, box, ticks, fraction, format, colors, { isUp: true });
    drawBottomAxis(context, box, positions, along, whole, colors, title);
  }
  return box;
}

// At most one step a pixel, each with the least, mean and largest value of the positions in it.
function stepsOf(values, pixels) {
  const count = Math.min(values.length, pixels);
  return Array.from({ length: count }, (_, step) => {
    const start = Math.floor((step * values.length) / count);
    const end = Math.floor(((step + 1) * values.length) / count);
    let [low, high, sum] = [Infinity, -Infinity, 0];
    for (let i = start; i < end; i++) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
      sum += values[i];
    }
    return { along: (step + 0.5) / count, low, high, mean: sum / (end - start) };
  });
}

function drawMark(context, box, [start, end], length, isStanding, colors) {
  const pixels = isStanding ? box.height : box.width;
  const from = (start / length) * pixels;
  const size = Math.max(2, ((end - start) / length) * pixels);
  context.fillStyle = colors.muted;
  context.globalAlpha = 0.35;
  if (isStanding) context.fillRect(box.x, box.y + from, box.width, size);
  else context.fillRect(box.x + from, box.y, size, box.height);
  context.globalAlpha = 1;
}
