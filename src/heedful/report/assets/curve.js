// A curve over positions, lying (positions to the right) or standing (positions downwards, beside a map).
import {
  drawBottomAxis, drawBoxLine, drawLeftAxis, EDGES, plotBox, positionLabel, positionTicks, valueLabel, valueTicks,
} from "./axes.js";
import { openCanvas } from "./drawing.js";

const STANDING_EDGES = { ...EDGES, left: 14 };

// Draws `values` over `length` positions and returns the box of the plot. `marked` is a span [start, end) or null.
export function drawCurve(canvas, { values, length, isStanding, marked, colours, title }) {
  const open = openCanvas(canvas);
  if (open === null) return null;
  const { context } = open;
  const box = plotBox(open.width, open.height, isStanding ? STANDING_EDGES : EDGES);
  const range = rangeOf(values);
  const place = (value) => (value - range.low) / (range.high - range.low);
  const at = isStanding
    ? (along, value) => [box.x + place(value) * box.width, box.y + along * box.height]
    : (along, value) => [box.x + along * box.width, box.y + (1 - place(value)) * box.height];

  if (marked !== null) drawMark(context, box, marked, length, isStanding, colours);
  const steps = stepsOf(values, Math.round(isStanding ? box.height : box.width));
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.25;
  trace(context, [...steps.map((s) => at(s.along, s.low)), ...steps.map((s) => at(s.along, s.high)).reverse()]);
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  trace(context, steps.map((s) => at(s.along, s.mean)));
  context.stroke();

  drawBoxLine(context, box, colours);
  const ticks = valueTicks(range.low, range.high, isStanding ? 2 : 3);
  const positions = positionTicks(length, isStanding ? box.height : box.width);
  const along = (position) => position / length;
  if (isStanding) {
    drawBottomAxis(context, box, ticks, place, valueLabel, colours, title);
  } else {
    drawLeftAxis(context, box, ticks, place, valueLabel, colours, { isUp: true });
    drawBottomAxis(context, box, positions, along, positionLabel, colours, title);
  }
  return box;
}

// The values that the axis covers: from 0 where this does not press the curve flat.
function rangeOf(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low >= 0 && low < high / 2) low = 0;
  if (high - low < Math.abs(high) * 1e-6 || high === low) {
    const half = Math.abs(high) * 0.05 || 0.5;
    return { low: low - half, high: high + half };
  }
  const room = (high - low) * 0.04;
  return { low: low === 0 ? 0 : low - room, high: high + room };
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

function trace(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
}

function drawMark(context, box, [start, end], length, isStanding, colours) {
  const room = isStanding ? box.height : box.width;
  const from = (start / length) * room;
  const size = Math.max(2, ((end - start) / length) * room);
  context.fillStyle = colours.muted;
  context.globalAlpha = 0.35;
  if (isStanding) context.fillRect(box.x, box.y + from, box.width, size);
  else context.fillRect(box.x + from, box.y, size, box.height);
  context.globalAlpha = 1;
}
