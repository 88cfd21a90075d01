// Colours of numbers of both signs: blue below 0, orange above, which are told apart without red and green as well. What is
// near 0 is as light as a light page and as dark as a dark one.
import { element } from "./dom.js";

const LIGHT = ["083d7c", "2f7fc1", "a9cfe8", "f7f6f2", "fbcf9c", "dd7a14", "7f3300"];
const DARK = ["b5dbff", "5a9fe0", "2a567f", "20262e", "7b4717", "dd8a33", "ffd9a8"];
const STEPS = 255; // an odd number: 0 has a colour of its own

const TABLES = new Map([[false, tableOf(LIGHT)], [true, tableOf(DARK)]]);

// Fills the pixels of an image with the colours of signed numbers; `scale` takes a size to its place from 0 to 1.
export function paintSigned(image, values, scale, isDark) {
  const pixels = new Uint32Array(image.data.buffer);
  const table = TABLES.get(isDark);
  const middle = (STEPS - 1) / 2;
  for (let i = 0; i < pixels.length; i++) {
    const place = Math.min(1, scale.place(Math.abs(values[i])));
    pixels[i] = table[Math.round(middle + (values[i] < 0 ? -place : place) * middle)];
  }
  return image;
}

// The colours from the lowest to the highest number, as a canvas of one row.
export function signedStrip(isDark, canvas = element("canvas", { class: "gradient", "aria-hidden": "true" })) {
  [canvas.width, canvas.height] = [STEPS, 1];
  const image = new ImageData(STEPS, 1);
  new Uint32Array(image.data.buffer).set(TABLES.get(isDark));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Each colour as the 32 bits of an opaque pixel.
function tableOf(hexes) {
  const stops = hexes.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(STEPS * 4).fill(255);
  for (let step = 0; step < STEPS; step++) {
    const place = (step / (STEPS - 1)) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) table[step * 4 + c] = stops[left][c] + (place - left) * (stops[left + 1][c] - stops[left][c]);
  }
  return new Uint32Array(table.buffer);
}
