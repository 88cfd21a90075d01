// Drawing on canvases: sharp at any pixel density, pictures unsmoothed when they are enlarged.
import { readArray } from "./arrays.js";
import { paint } from "./colour.js";
import { element } from "./dom.js";

const [DIMMEST, LIGHTEST] = [40, 215];

// Gives a canvas as many pixels as it covers, clears it, and returns a context in CSS pixels; null while it is hidden.
export function openCanvas(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (width === 0 || height === 0) return null;
  const density = window.devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  giveSize(canvas, Math.round(width * density), Math.round(height * density));
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

// Sets a size only where it changes: every setting makes a new buffer.
function giveSize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

// A picture as two canvases of its own size: in colour, and in soft greys that keep the colours over it readable.
export function openPicture(reference) {
  const [height, width, channels = 1] = reference.shape;
  const bytes = readArray(reference);
  const colour = new ImageData(width, height);
  const grey = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * channels;
    const [r, g, b] = channels === 3 ? [bytes[at], bytes[at + 1], bytes[at + 2]] : [bytes[at], bytes[at], bytes[at]];
    setPixel(colour.data, pixel, r, g, b);
    const light = DIMMEST + (LIGHTEST - DIMMEST) * ((0.299 * r + 0.587 * g + 0.114 * b) / 255);
    setPixel(grey.data, pixel, light, light, light);
  }
  return { width, height, colour: canvasOf(colour), grey: canvasOf(grey) };
}

function setPixel(data, pixel, r, g, b) {
  data[pixel * 4] = r;
  data[pixel * 4 + 1] = g;
  data[pixel * 4 + 2] = b;
  data[pixel * 4 + 3] = 255;
}

function canvasOf(image, canvas = element("canvas")) {
  giveSize(canvas, image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// The rectangle in which a picture of this shape lies, as large as possible and in the middle.
export function fitInto(width, height, shape) {
  const factor = Math.min(width / shape.width, height / shape.height);
  const [w, h] = [shape.width * factor, shape.height * factor];
  return { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h };
}

function drawImage(context, image, box) {
  context.imageSmoothingEnabled = box.width < image.width;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, box.x, box.y, box.width, box.height);
}

export function drawPicture(canvas, picture) {
  const open = openCanvas(canvas);
  if (open !== null) drawImage(open.context, picture.colour, fitInto(open.width, open.height, picture));
}

const SCRATCH = element("canvas");

// Numbers of a grid as an image of one pixel a cell, to be drawn before the next is painted; `start` numbers are
// passed over.
export function paintGrid(values, start, rows, columns, scale) {
  return canvasOf(paint(new ImageData(columns, rows), values, start, scale), SCRATCH);
}

// A picture in grey with the colours of a grid over it. At opacity 0 the picture stands in its own colours.
export function drawOverlay(canvas, picture, colours, opacity) {
  const open = openCanvas(canvas);
  if (open === null) return null;
  const box = fitInto(open.width, open.height, picture);
  drawImage(open.context, opacity > 0 ? picture.grey : picture.colour, box);
  open.context.globalAlpha = opacity;
  drawImage(open.context, colours, { ...box });
  open.context.globalAlpha = 1;
  return { context: open.context, box };
}

export function cellBox(box, rows, columns, cell) {
  const [width, height] = [box.width / columns, box.height / rows];
  return { x: box.x + cell.column * width, y: box.y + cell.row * height, width, height };
}

// A frame that can be seen on any colour: dark outside, light inside.
export function drawFrame(context, box, { dashed = false, thick = 2 } = {}) {
  context.setLineDash(dashed ? [4, 3] : []);
  for (const [colour, line] of [["#000", thick + 2], ["#fff", thick]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(box.x, box.y, box.width, box.height);
  }
  context.setLineDash([]);
}

// A ring around the middle of a cell that can be seen on any colour.
export function drawRing(context, box) {
  const radius = Math.max(2.5, Math.min(7, Math.min(box.width, box.height) * 0.22));
  for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    context.arc(box.x + box.width / 2, box.y + box.height / 2, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}
