// Pictures: in color, in gray with colors over them, and as large as their canvas lets them be.
import { readArray } from "./arrays.js";
import { canvasOf, openCanvas } from "./drawing.js";

const [DIMMEST, LIGHTEST] = [40, 215];

// A picture as two canvases of its own size: in color, and in soft grays that keep the colors over it readable.
export function openPicture(reference) {
  const [height, width, channels = 1] = reference.shape;
  const bytes = readArray(reference);
  const color = new ImageData(width, height);
  const gray = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const at = pixel * channels;
    const [r, g, b] = channels === 3 ? [bytes[at], bytes[at + 1], bytes[at + 2]] : [bytes[at], bytes[at], bytes[at]];
    setPixel(color.data, pixel, r, g, b);
    const light = DIMMEST + (LIGHTEST - DIMMEST) * ((0.299 * r + 0.587 * g + 0.114 * b) / 255);
    setPixel(gray.data, pixel, light, light, light);
  }
  return { width, height, color: canvasOf(color), gray: canvasOf(gray) };
}

function setPixel(data, pixel, r, g, b) {
  data[pixel * 4] = r;
  data[pixel * 4 + 1] = g;
  data[pixel * 4 + 2] = b;
  data[pixel * 4 + 3] = 255;
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
  if (open !== null) drawImage(open.context, picture.color, fitInto(open.width, open.height, picture));
}

// A picture in gray with the colors of a grid over it. At opacity 0 the picture stands in its own colors.
export function drawOverlay(canvas, picture, colors, opacity) {
  const open = openCanvas(canvas);
  if (open === null) return null;
  const box = fitInto(open.width, open.height, picture);
  drawImage(open.context, opacity > 0 ? picture.gray : picture.color, box);
  open.context.globalAlpha = opacity;
  drawImage(open.context, colors, { ...box });
  open.context.globalAlpha = 1;
  return { context: open.context, box };
}
