// A side as an axis from left to right: a sound in seconds, a series in steps, or bare positions; weights below it as a
// ribbon of colours and as a curve.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, valueTicks } from "./axes.js";
import { element, number } from "./dom.js";
import { openCanvas, paintGrid } from "./drawing.js";
import { readArray } from "./arrays.js";
import { axisOf, shortened } from "./places.js";
import { largestOf, peaksOf } from "./shares.js";

const EDGES = { left: 64, right: 64, top: 8, bottom: 40 }; // the same as those of the ribbons of heads below
const GAP = 8;
const [WAVE, BANDS, LANE, RIBBON, CURVE] = [56, 108, 54, 14, 88]; // heights in pixels
const TITLE = 20; // pixels above a lane for its name
const MOST_LANES = 8;
const POINTS = 2048; // of a line, each with its lowest and highest value
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
const FONT = "12px system-ui, sans-serif";

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
    draw({ weights, scale, shown, pinned, probe, colours }) {
      const visible = lanes(channels?.() ?? null);
      const top = visible.reduce((sum, lane) => sum + lane.height + GAP, 0);
      const height = EDGES.top + top + (isKey ? RIBBON + GAP + CURVE : 0) + EDGES.bottom - (isKey ? 0 : GAP);
      if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
      const open = openCanvas(canvas);
      if (open === null) return;
      const { context } = open;
      plot = { x: EDGES.left, width: Math.max(1, open.width - EDGES.left - EDGES.right), y: EDGES.top, height: height - EDGES.top - EDGES.bottom };
      let y = EDGES.top;
      for (const lane of visible) {
        const title = lane.name === undefined ? 0 : TITLE;
        const box = { ...plot, y: y + title, height: lane.height - title };
        if (title > 0) writeName(context, box, lane.name, colours);
        lane.draw(context, box, colours);
        drawBoxLine(context, box, colours);
        y += lane.height + GAP;
      }
      if (isKey) {
        drawRibbon(context, { ...plot, y, height: RIBBON }, weights, scale);
        y += RIBBON + GAP;
        drawWeights(context, { ...plot, y, height: CURVE }, weights, colours);
      }
      const { length, title, format } = axisOf(side);
      drawBottomAxis(context, plot, valueTicks(0, length, plot.width < 360 ? 3 : 6), (tick) => tick / length, format, colours, title);
      if (probe !== null) drawMark(context, plot, side.count, probe, colours, true);
      if (shown !== null && role !== "key") drawMark(context, plot, side.count, shown, colours, false);
    },
  };
}

// Weights as one row of colours, the peak of each pixel.
export function drawRibbon(context, box, weights, scale) {
  const peaks = peaksOf(weights, box.width);
  context.imageSmoothingEnabled = false;
  context.drawImage(paintGrid(peaks, 0, 1, peaks.length, scale), box.x, box.y, box.width, box.height);
}

function drawWeights(context, box, weights, colours) {
  const peaks = peaksOf(weights, box.width);
  const [largest] = largestOf(weights, 1);
  const high = largest === undefined ? 0 : weights[largest];
  const place = (weight) => (high > 0 ? weight / (high * 1.06) : 0);
  context.beginPath();
  context.moveTo(box.x, box.y + box.height);
  for (let cell = 0; cell < peaks.length; cell++) {
    const y = box.y + (1 - place(peaks[cell])) * box.height;
    context.lineTo(box.x + (cell / peaks.length) * box.width, y);
    context.lineTo(box.x + ((cell + 1) / peaks.length) * box.width, y);
  }
  context.lineTo(box.x + box.width, box.y + box.height);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.28;
  context.fill();
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.25;
  context.stroke();
  drawBoxLine(context, box, colours);
  if (high > 0) drawLeftAxis(context, box, valueTicks(0, high, 2), place, percentTick, colours, { isUp: true });
}

function percentTick(share) {
  return `${number(100 * share)}\u00a0%`;
}

// A position as a line over the whole plot with room for what it covers; dashed for what is only pointed at.
function drawMark(context, plot, count, position, colours, isDashed) {
  const width = plot.width / count;
  const x = plot.x + position * width;
  context.fillStyle = colours.ink;
  context.globalAlpha = 0.16;
  context.fillRect(x, plot.y, Math.max(1, width), plot.height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.ink;
  context.lineWidth = isDashed ? 1 : 2;
  context.setLineDash(isDashed ? [4, 3] : []);
  context.beginPath();
  context.moveTo(x + width / 2, plot.y);
  context.lineTo(x + width / 2, plot.y + plot.height);
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
  canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && act.point(at(event)));
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && act.point(null));
  canvas.addEventListener("click", (event) => at(event) !== null && act.pick(at(event)));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const from = act.current() ?? Math.floor(count / 2);
    const step = (STEPS[event.key] ?? 0) * (event.shiftKey ? 10 : 1);
    if (step !== 0) act.point(act.current() === null ? from : Math.max(0, Math.min(count - 1, from + step)));
    else if (event.key === "Home") act.point(0);
    else if (event.key === "End") act.point(count - 1);
    else if (event.key === "Enter" || event.key === " ") act.pick(from);
    else return;
    event.preventDefault();
  });
}

// A function from the chosen channel (a number, or null for all) to the lanes that are shown: { height, draw }.
function lanesOf(side) {
  if (side.kind === "sound") {
    const share = Math.min(1, side.duration / side.seconds);
    const wave = waveLane(readArray(side.envelope), share);
    const both = side.spectrogram === null ? [{ ...wave, height: BANDS }] : [wave, bandsLane(side.spectrogram, share)];
    return () => both;
  }
  if (side.kind === "series") {
    const made = side.channels.map((name, channel) => lineLane(side, name, channel));
    return (channel) => (channel === null ? made.slice(0, MOST_LANES) : [{ ...made[channel], height: TITLE + 2 * LANE }]);
  }
  return () => [];
}

function waveLane(envelope, share) {
  const points = envelope.length / 2;
  const reach = envelope.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  return {
    height: WAVE,
    draw(context, box, colours) {
      drawPadding(context, box, share, colours);
      const [middle, half] = [box.y + box.height / 2, box.height / 2 - 2];
      context.fillStyle = colours.muted;
      const pixels = Math.max(1, Math.round(box.width * share));
      for (let x = 0; x < pixels; x++) {
        let [low, high] = [0, 0];
        const end = Math.max(Math.floor((x * points) / pixels) + 1, Math.floor(((x + 1) * points) / pixels));
        for (let at = Math.floor((x * points) / pixels); at < end; at++) {
          low = Math.min(low, envelope[at]);
          high = Math.max(high, envelope[points + at]);
        }
        context.fillRect(box.x + x, middle - (high / reach) * half, 1, Math.max(1, ((high - low) / reach) * half));
      }
    },
  };
}

// What a sound's positions cover beyond its samples.
function drawPadding(context, box, share, colours) {
  if (share >= 1) return;
  context.fillStyle = colours.line;
  context.globalAlpha = 0.5;
  context.fillRect(box.x + share * box.width, box.y, (1 - share) * box.width, box.height);
  context.globalAlpha = 1;
}

function bandsLane(reference, share) {
  const shades = readArray(reference);
  const [bands, frames] = reference.shape;
  let [image, inked] = [null, ""];
  return {
    height: BANDS,
    draw(context, box, colours) {
      if (inked !== colours.ink) [image, inked] = [inkOf(shades, bands, frames, colours.ink), colours.ink];
      drawPadding(context, box, share, colours);
      context.imageSmoothingEnabled = true;
      context.drawImage(image, box.x, box.y, box.width * share, box.height);
    },
  };
}

// Shades as ink: the loudest darkest on light pages, lightest on dark ones; the lowest band lies at the bottom.
function inkOf(shades, bands, frames, ink) {
  const [r, g, b] = ink.match(/[\d.]+/g).map(Number);
  const image = new ImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let frame = 0; frame < frames; frame++) {
      image.data.set([r, g, b, shades[band * frames + frame]], ((bands - 1 - band) * frames + frame) * 4);
    }
  }
  const canvas = element("canvas", { width: frames, height: bands });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function lineLane(side, name, channel) {
  const steps = side.values.shape[1];
  const values = readArray(side.values).subarray(channel * steps, (channel + 1) * steps);
  const count = Math.min(steps, POINTS);
  const ends = Array.from({ length: count }, (_, point) => {
    const part = values.subarray(Math.floor((point * steps) / count), Math.floor(((point + 1) * steps) / count));
    return [part.reduce((a, b) => Math.min(a, b)), part.reduce((a, b) => Math.max(a, b))];
  });
  const low = ends.reduce((least, [value]) => Math.min(least, value), Infinity);
  const high = ends.reduce((most, [, value]) => Math.max(most, value), -Infinity);
  const room = Math.max(high - low, 1e-12);
  const [least, most] = [low - 0.06 * room, high + 0.06 * room];
  return {
    name,
    height: TITLE + LANE,
    draw(context, box, colours) {
      const place = (value) => (value - least) / (most - least);
      context.beginPath();
      ends.forEach((pair, point) => {
        const x = box.x + ((point + 0.5) / count) * box.width;
        for (const value of pair) context.lineTo(x, box.y + (1 - place(value)) * box.height);
      });
      context.strokeStyle = colours.ink;
      context.lineWidth = 1.25;
      context.lineJoin = "round";
      context.stroke();
      drawLeftAxis(context, box, valueTicks(least, most, 4), place, number, colours, { isUp: true });
    },
  };
}

// The name of a channel above its lane.
function writeName(context, box, name, colours) {
  context.font = FONT;
  context.fillStyle = colours.muted;
  context.textAlign = "left";
  context.textBaseline = "bottom";
  context.fillText(shortened(name, 40), box.x, box.y - 3, box.width);
}
