// Beside a text: what is shown, what the shades mean, and the largest weights as bars with numbers.
import { element, given, percent, whole } from "./dom.js";
import { largest } from "./text-units.js";

const ROWS = 10;
const MOST_LETTERS = 24; // of a token in a sentence
const SAID = 5; // keys that the readout names

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
      const best = largest(reading.weights, ROWS);
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

// A unit as it stands in a list, cut.
function wordNodes(unit, most = 60) {
  const nodes = [];
  let left = most;
  for (const { text, isSign } of unit.parts) {
    if (left <= 0) break;
    const letters = [...text];
    const shown = letters.length > left ? `${letters.slice(0, left - 1).join("")}\u2026` : text;
    left -= letters.length;
    nodes.push(isSign ? element("span", { class: "text-sign", text: shown }) : shown);
  }
  return nodes;
}

// "'fox' (3)", as nodes.
export function unitName(unit, most = MOST_LETTERS) {
  const name = element("bdi", { dir: "auto" }, ...wordNodes(unit, most));
  return ["\u2018", name, `\u2019 (${unit.end - unit.start > 1 ? `${unit.start} to ${unit.end - 1}` : unit.start})`];
}

// What a reading is of, as nodes; `names` are the units of the side on which its unit stands.
export function headline(reading, names) {
  if (reading.direction === "received") return ["What each token receives, mean of all queries"];
  return [...unitName(names[reading.unit]), reading.direction === "in" ? " is looked at by" : " looks at"];
}

// The sentence about a reading: its five largest, and what has to be known to read them.
export function sentence(reading, names, units) {
  const words = [...headline(reading, names), ": "];
  const best = largest(reading.weights, SAID);
  if (best.length === 0) words.push("nothing");
  best.forEach((u, i) => words.push(i ? ", " : "", ...unitName(units[u]), ` ${percent(reading.weights[u])}`));
  words.push(". ");
  return [...words, ...remarks(reading)];
}

function remarks({ direction, exact, mass, cells, isRenormalised }) {
  const words = [];
  if (!exact && direction === "in") words.push("Only the largest weights of each query are known. ");
  else if (!exact) words.push(`Mass shown: ${percent(mass)}. `);
  if (cells !== null) words.push(`Means over cells of ${whole(cells[0])} queries and ${whole(cells[1])} keys. `);
  if (isRenormalised) words.push("Renormalised to 1 without what is hidden. ");
  return words;
}
