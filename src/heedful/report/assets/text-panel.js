// Beside a text: what is shown, what the shades mean, and the largest weights as bars with numbers.
import { element } from "./dom.js";
import { percent, whole } from "./format.js";
import { wordNodes } from "./text-readout.js";
import { largestOf } from "./weights.js";

const ROWS = 10;

// `jump(unit)` is called when a row of the list is chosen.
export function textPanel(jump) {
  const title = element("h3", { class: "text-title" });
  const legend = legendBar();
  const rows = Array.from({ length: ROWS }, () => panelRow(jump));
  const list = element("ol", { class: "text-top" }, ...rows.map((row) => row.element));
  const rest = element("p", { class: "note text-rest" });
  const root = element("aside", { class: "text-panel", "aria-label": "Largest weights" }, title, legend.element, list, rest);
  return {
    element: root,
    // Shows a reading; `units` are those that it has weights of, `scale` takes weights to shades.
    show(reading, units, words, scale, hue) {
      if (root.style.getPropertyValue("--hue") !== hue) root.style.setProperty("--hue", hue);
      title.replaceChildren(...words);
      const best = largestOf(reading.weights, ROWS);
      rows.forEach((row, i) => row.show(best[i], units, reading.weights, reading.weights[best[0]]));
      legend.show(scale);
      const others = reading.weights.reduce((count, weight) => count + (weight > 0 ? 1 : 0), 0) - best.length;
      rest.textContent = others > 0 ? `${whole(others)} more, each at most ${percent(reading.weights[best.at(-1)])}` : "\u00a0";
    },
  };
}

function panelRow(jump) {
  const position = element("span", { class: "text-position" });
  const token = element("bdi", { class: "text-name", dir: "auto" });
  const fill = element("span", { class: "text-fill" });
  const value = element("span", { class: "text-value" });
  const button = element("button", { type: "button", class: "text-row" }, position, token, element("span", { class: "text-bar", "aria-hidden": "true" }, fill), value);
  const item = element("li", {}, button);
  let unit = null;
  button.addEventListener("click", () => unit !== null && jump(unit));
  return {
    element: item,
    show(u, units, weights, high) {
      unit = u ?? null;
      item.classList.toggle("text-empty", unit === null);
      button.disabled = unit === null;
      if (unit === null) return;
      position.textContent = String(units[u].start);
      token.replaceChildren(...wordNodes(units[u]));
      token.title = units[u].title;
      fill.style.width = `${(100 * weights[u]) / high}%`;
      value.textContent = percent(weights[u]);
    },
  };
}

function legendBar() {
  const numbers = [0, 0.5, 1].map(() => element("span"));
  const bar = element("div", { class: "text-gradient", "aria-hidden": "true" });
  const made = element("div", { class: "text-legend" }, bar, element("div", { class: "bar-numbers" }, ...numbers));
  return { element: made, show: (scale) => numbers.forEach((label, i) => (label.textContent = percent(scale.value(i / 2)))) };
}
