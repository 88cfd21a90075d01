// Drawing on canvases: sharp at any pixel density; grids of colors, and marks that can be seen on any of them.
import { paint } from "./color.js";
import { element } from "./dom.js";

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

// An image of single pixels as a canvas of its own size.
export function canvasOf(image, canvas = element("canvas")) {
  giveSize(canvas, image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

const SCRATCH = element("canvas");

// Numbers of a grid as an image of one pixel a cell, to be drawn before the next is painted; `start` numbers are
// passed over.
export function paintGrid(values, start, rows, columns, scale) {
  return canvasOf(paint(new ImageData(columns, rows), values, start, scale), SCRATCH);
}

export function cellBox(box, rows, columns, cell) {
  const [width, height] = [box.width / columns, box.height / rows];
  return { x: box.x + cell.column * width, y: box.y + cell.row * height, width, height };
}

// A frame that can be seen on any color: dark outside, light inside.
export function drawFrame(context, box, { dashed = false, thick = 2 } = {}) {
  context.setLineDash(dashed ? [4, 3] : []);
  for (const [color, line] of [["#000", thick + 2], ["#fff", thick]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.strokeRect(box.x, box.y, box.width, box.height);
  }
  context.setLineDash([]);
}

// A ring around the middle of a cell that can be seen on any color.
export function drawRing(context, box) {
  const radius = Math.max(2.5, Math.min(7, Math.min(box.width, box.height) * 0.22));
  for (const [color, line] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = line;
    context.beginPath();
    context.arc(box.x + box.width / 2, box.y + box.height / 2, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}
