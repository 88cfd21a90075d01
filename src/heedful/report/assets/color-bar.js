// The bar that says which numbers colors stand for: on the page, and in a drawing that leaves it.
import { colorStrip } from "./color.js";
import { element } from "./dom.js";
import { canvasOf } from "./drawing.js";

// A bar of colors with numbers below it: `show(strip, labels)`.
export function stripBar() {
  const canvas = element("canvas", { class: "gradient", height: 1, "aria-hidden": "true" });
  const numbers = [0, 1, 2].map(() => element("span"));
  return {
    parts: [canvas, element("div", { class: "bar-numbers" }, ...numbers)],
    show(strip, labels) {
      if (canvas.width !== strip.width) canvas.width = strip.width;
      canvas.getContext("2d").putImageData(strip, 0, 0);
      numbers.forEach((number, i) => (number.textContent = labels[i]));
    },
  };
}

// The bar of a scale, with its title above.
export function colorBar() {
  const title = element("p", { class: "bar-title" });
  const bar = stripBar();
  return {
    element: element("div", { class: "color-bar" }, title, ...bar.parts),
    show(scale, words, format) {
      title.textContent = words;
      bar.show(colorStrip(), [0, 0.5, 1].map((fraction) => format(scale.value(fraction))));
    },
  };
}

// The same in a drawing, 30 pixels high.
export function drawBar(pen, { x, y, width }, labels, colors, strip = colorStrip()) {
  pen.image(canvasOf(strip), { x: 0, y: 0, width: strip.width, height: 1 }, { x, y, width, height: 10 }, { isSmooth: true });
  ["left", "center", "right"].forEach((align, i) => pen.words(labels[i], x + (i * width) / 2, y + 20, { color: colors.muted, size: 11, align }));
}
