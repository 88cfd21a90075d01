// From numbers to colours: scales, and one map of colours that reads the same without red and green (viridis).
import { element } from "./dom.js";

const STOPS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
const STEPS = 256;
const LOG_DECADES = 6;

// 256 colours, each as the 32 bits of an opaque pixel.
const COLOURS = (() => {
  const stops = STOPS.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(STEPS * 4).fill(255);
  for (let step = 0; step < STEPS; step++) {
    const place = (step / (STEPS - 1)) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      table[step * 4 + c] = stops[left][c] + (place - left) * (stops[left + 1][c] - stops[left][c]);
    }
  }
  return new Uint32Array(table.buffer);
})();

// A scale takes a value to its place from 0 to 1 (`place`) and a place back to its value (`value`).
// "log" begins at the smallest value above 0, at most six decades below the largest.
export function makeScale(kind, high, smallest = 0) {
  if (!(high > 0)) return { place: () => 0, value: (place) => place * 0 };
  if (kind === "sqrt") return { place: (v) => Math.sqrt(Math.max(v, 0) / high), value: (p) => p * p * high };
  if (kind === "log") {
    const low = Math.min(Math.max(smallest, high / 10 ** LOG_DECADES), high / 1.0001);
    const decades = Math.log(high / low);
    return { place: (v) => (v <= low ? 0 : Math.log(v / low) / decades), value: (p) => low * Math.exp(p * decades) };
  }
  return { place: (v) => v / high, value: (p) => p * high };
}

// Fills the pixels of an image with the colours of numbers; `start` numbers are passed over.
export function paint(image, values, start, scale) {
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) {
    pixels[i] = COLOURS[Math.min(STEPS - 1, Math.max(0, Math.round(scale.place(values[start + i]) * (STEPS - 1))))];
  }
  return image;
}

// A bar of the colours with numbers below it.
export function colourBar() {
  const canvas = element("canvas", { class: "gradient", width: STEPS, height: 1, "aria-hidden": "true" });
  const places = Float32Array.from({ length: STEPS }, (_, step) => step / (STEPS - 1));
  canvas.getContext("2d").putImageData(paint(new ImageData(STEPS, 1), places, 0, makeScale("linear", 1)), 0, 0);
  const title = element("p", { class: "bar-title" });
  const numbers = [0, 0.5, 1].map(() => element("span"));
  return {
    element: element("div", { class: "colour-bar" }, title, canvas, element("div", { class: "bar-numbers" }, ...numbers)),
    show(scale, words, format) {
      title.textContent = words;
      numbers.forEach((label, i) => (label.textContent = format(scale.value(i / 2))));
    },
  };
}
