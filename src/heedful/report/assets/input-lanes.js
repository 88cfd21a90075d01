// The lanes of a sound or a series above its axis: a wave, a spectrogram, the words that were said, a line a channel.
import { readArray } from "./arrays.js";
import { drawBoxLine, drawLeftAxis, valueTicks } from "./axes.js";
import { canvasOf } from "./drawing.js";
import { number } from "./format.js";
import { shortened } from "./positions.js";

const [WAVE, BANDS, WORDS, LANE] = [56, 108, 22, 54]; // heights in pixels
const TITLE = 20; // pixels above a lane for its name
const MOST_LANES = 8;
const POINTS = 2048; // of a line, each with its lowest and highest value
const FONT = "12px system-ui, sans-serif";

// A function from the chosen channel (a number, or null for all) to the lanes that are shown: { height, draw }.
export function lanesOf(side) {
  if (side.kind === "sound") {
    const share = Math.min(1, side.duration / side.seconds);
    const wave = waveLane(readArray(side.envelope), share);
    const heard = side.spectrogram === null ? [{ ...wave, height: BANDS }] : [wave, bandsLane(side.spectrogram, share)];
    const all = side.words.length > 0 ? [...heard, wordsLane(side)] : heard;
    return () => all;
  }
  if (side.kind === "series") {
    const made = side.channels.map((name, channel) => lineLane(side, name, channel));
    return (channel) => (channel === null ? made.slice(0, MOST_LANES) : [{ ...made[channel], height: TITLE + 2 * LANE }]);
  }
  return () => [];
}

// Draws a lane with a frame around it, below its name where it has one.
export function drawLane(context, box, { name, draw }, colors) {
  const title = name === undefined ? 0 : TITLE;
  const inner = { ...box, y: box.y + title, height: box.height - title };
  if (title > 0) {
    context.font = FONT;
    context.fillStyle = colors.muted;
    context.textAlign = "left";
    context.textBaseline = "bottom";
    context.fillText(shortened(name, 40), inner.x, inner.y - 3, inner.width);
  }
  draw(context, inner, colors);
  drawBoxLine(context, inner, colors);
}

function waveLane(envelope, share) {
  const points = envelope.length / 2;
  const reach = envelope.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  return {
    height: WAVE,
    draw(context, box, colors) {
      drawPadding(context, box, share, colors);
      const [middle, half] = [box.y + box.height / 2, box.height / 2 - 2];
      context.fillStyle = colors.muted;
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
function drawPadding(context, box, share, colors) {
  if (share >= 1) return;
  context.fillStyle = colors.line;
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
    draw(context, box, colors) {
      if (inked !== colors.ink) [image, inked] = [inkOf(shades, bands, frames, colors.ink), colors.ink];
      drawPadding(context, box, share, colors);
      context.imageSmoothingEnabled = true;
      context.drawImage(image, box.x, box.y, box.width * share, box.height);
    },
  };
}

// What was said, each word from where it begins to where it ends.
function wordsLane({ words, seconds }) {
  return {
    height: WORDS,
    draw(context, box, colors) {
      context.font = FONT;
      context.textAlign = "left";
      context.textBaseline = "middle";
      for (const [word, start, end] of words) {
        const [x, width] = [box.x + (start / seconds) * box.width, ((end - start) / seconds) * box.width];
        context.fillStyle = colors.line;
        context.fillRect(x, box.y, 1, box.height);
        context.fillStyle = colors.ink;
        context.save();
        context.beginPath();
        context.rect(x, box.y, width, box.height);
        context.clip();
        context.fillText(word, x + 4, box.y + box.height / 2);
        context.restore();
      }
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
  return canvasOf(image);
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
  const margin = 0.06 * Math.max(high - low, 1e-12);
  const [least, most] = [low - margin, high + margin];
  return {
    name,
    height: TITLE + LANE,
    draw(context, box, colors) {
      const fraction = (value) => (value - least) / (most - least);
      context.beginPath();
      ends.forEach((pair, point) => {
        const x = box.x + ((point + 0.5) / count) * box.width;
        for (const value of pair) context.lineTo(x, box.y + (1 - fraction(value)) * box.height);
      });
      context.strokeStyle = colors.ink;
      context.lineWidth = 1.25;
      context.lineJoin = "round";
      context.stroke();
      drawLeftAxis(context, box, valueTicks(least, most, 4), fraction, number, colors, { isUp: true });
    },
  };
}
