// From numbers to colors: scales, and one map of colors that reads the same without red and green (viridis).

const STOPS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
const STEPS = 256;
const LOG_DECADES = 6;

// What a color scale can be.
export const SCALES = [["linear", "linear"], ["sqrt", "square root"], ["log", "logarithm"]];

export const NAN_COLOR = "#f0288c"; // which no scale has
export const NAN_PIXEL = new Uint32Array(new Uint8ClampedArray([0xf0, 0x28, 0x8c, 255]).buffer)[0];
const COLORS = colorTable(STOPS, STEPS);

// So many colors between those given as hex digits, each as the 32 bits of an opaque pixel.
export function colorTable(hexes, steps) {
  const stops = hexes.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(steps * 4).fill(255);
  for (let step = 0; step < steps; step++) {
    const along = (step / (steps - 1)) * (stops.length - 1);
    const left = Math.min(Math.floor(along), stops.length - 2);
    for (let c = 0; c < 3; c++) table[step * 4 + c] = stops[left][c] + (along - left) * (stops[left + 1][c] - stops[left][c]);
  }
  return new Uint32Array(table.buffer);
}

// A scale takes a value to a fraction from 0 to 1 (`fraction`) and a fraction back to its value (`value`).
// "log" begins at the smallest value above 0, at most six decades below the largest.
export function makeScale(kind, high, smallest = 0) {
  if (!(high > 0)) return { fraction: () => 0, value: () => 0 };
  if (kind === "sqrt") return { fraction: (v) => Math.sqrt(Math.max(v, 0) / high), value: (p) => p * p * high };
  if (kind === "log") {
    const low = Math.min(Math.max(smallest, high / 10 ** LOG_DECADES), high / 1.0001);
    const decades = Math.log(high / low);
    return { fraction: (v) => (v <= low ? 0 : Math.log(v / low) / decades), value: (p) => low * Math.exp(p * decades) };
  }
  return { fraction: (v) => v / high, value: (p) => p * high };
}

// Fills the pixels of an image with the colors of numbers, NaN with its own; `start` numbers are passed over.
export function paint(image, values, start, scale) {
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) {
    const value = values[start + i];
    pixels[i] = Number.isNaN(value) ? NAN_PIXEL : COLORS[Math.min(STEPS - 1, Math.max(0, Math.round(scale.fraction(value) * (STEPS - 1))))];
  }
  return image;
}

// The colors from the lowest to the highest as the pixels of one row.
export function colorStrip() {
  const image = new ImageData(STEPS, 1);
  new Uint32Array(image.data.buffer).set(COLORS);
  return image;
}
