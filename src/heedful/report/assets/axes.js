// Axes: where ticks stand, and how they are drawn.

// The edges that every plot of a matrix section leaves free, so that plots below one another line up.
export const EDGES = { left: 70, right: 14, top: 8, bottom: 42 };
// Those of plots along a sound, a series or positions, and of the ribbons of heads below them.
export const TRACK_EDGES = { left: 64, right: 64, top: 8, bottom: 40 };
const FONT = "12px system-ui, sans-serif";

export function plotBox(width, height, edges = EDGES) {
  return {
    x: edges.left,
    y: edges.top,
    width: Math.max(1, width - edges.left - edges.right),
    height: Math.max(1, height - edges.top - edges.bottom),
  };
}

// Ticks for positions 0 to `length`: quarters where these are whole numbers.
export function positionTicks(length, pixels) {
  const parts = pixels < 300 ? 2 : 4;
  if (length % parts === 0) return Array.from({ length: parts + 1 }, (_, i) => (i * length) / parts);
  return valueTicks(0, length, parts).filter((tick) => Number.isInteger(tick));
}

// Round numbers between two values, about `count` of them.
export function valueTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

// The values that an axis covers, with a margin: from 0 where this does not press what is drawn flat.
export function axisRange(values, margin) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [0, 1]; // nothing is a number
  if (low >= 0 && low < high / 2) low = 0;
  if (high - low < Math.abs(high) * 1e-6 || high === low) {
    const half = Math.abs(high) * 0.05 || 0.5;
    return { low: low - half, high: high + half };
  }
  const more = (high - low) * margin;
  return { low: low === 0 ? 0 : low - more, high: high + more };
}

// The horizontal axis below a box; `fraction` takes a tick to 0..1.
export function drawBottomAxis(context, box, ticks, fraction, format, colors, title = "") {
  prepare(context, colors);
  ticks.forEach((tick, i) => {
    const x = box.x + fraction(tick) * box.width;
    trace(context, [[x, box.y + box.height], [x, box.y + box.height + 4]]);
    context.stroke();
    context.textAlign = i === 0 && ticks.length > 1 ? "left" : i === ticks.length - 1 && ticks.length > 1 ? "right" : "center";
    const shift = context.textAlign === "left" ? -4 : context.textAlign === "right" ? 4 : 0;
    context.textBaseline = "top";
    context.fillText(format(tick), x + shift, box.y + box.height + 7);
  });
  context.textAlign = "center";
  if (title) context.fillText(title, box.x + box.width / 2, box.y + box.height + 24);
}

// The vertical axis left of a box; `fraction` takes a tick to 0..1, from the top or, where `isUp`, from the bottom.
export function drawLeftAxis(context, box, ticks, fraction, format, colors, { title = "", isUp = false } = {}) {
  prepare(context, colors);
  for (const tick of ticks) {
    const share = isUp ? 1 - fraction(tick) : fraction(tick);
    const y = box.y + share * box.height;
    trace(context, [[box.x - 4, y], [box.x, y]]);
    context.stroke();
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText(format(tick), box.x - 7, Math.min(box.y + box.height - 3, Math.max(box.y + 5, y)));
  }
  if (!title) return;
  context.save();
  context.translate(7, box.y + box.height / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(title, 0, 0);
  context.restore();
}

export function drawBoxLine(context, box, colors) {
  context.strokeStyle = colors.line;
  context.lineWidth = 1;
  context.strokeRect(box.x - 0.5, box.y - 0.5, box.width + 1, box.height + 1);
}

function prepare(context, colors) {
  context.font = FONT;
  context.fillStyle = colors.muted;
  context.strokeStyle = colors.muted;
  context.lineWidth = 1;
}

// Begins a path through points [x, y].
export function trace(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
}
