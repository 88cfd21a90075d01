// Colors of numbers of both signs: blue below 0, orange above, which are told apart without red and green as well. What is
// near 0 is as light as a light page and as dark as a dark one.
import { colorTable, NAN_PIXEL } from "./color.js";

const LIGHT = ["083d7c", "2f7fc1", "a9cfe8", "f7f6f2", "fbcf9c", "dd7a14", "7f3300"];
const DARK = ["b5dbff", "5a9fe0", "2a567f", "20262e", "7b4717", "dd8a33", "ffd9a8"];
const STEPS = 255; // an odd number: 0 has a color of its own

const TABLES = new Map([[false, colorTable(LIGHT, STEPS)], [true, colorTable(DARK, STEPS)]]);

// Fills the pixels of an image with the colors of signed numbers; `scale` takes a size to a fraction from 0 to 1.
export function paintSigned(image, values, scale, isDark) {
  const pixels = new Uint32Array(image.data.buffer);
  const table = TABLES.get(isDark);
  const middle = (STEPS - 1) / 2;
  for (let i = 0; i < pixels.length; i++) {
    const fraction = Math.min(1, scale.fraction(Math.abs(values[i])));
    pixels[i] = Number.isNaN(fraction) ? NAN_PIXEL : table[Math.round(middle + (values[i] < 0 ? -fraction : fraction) * middle)];
  }
  return image;
}

// The colors from the lowest to the highest number as the pixels of one row.
export function signedStrip(isDark) {
  const image = new ImageData(STEPS, 1);
  new Uint32Array(image.data.buffer).set(TABLES.get(isDark));
  return image;
}
