// The small pictures beside the large one: a row a layer, in each the mean of the heads and every head.
import { makeScale } from "./colour.js";
import { element, given } from "./dom.js";
import { cellBox, drawFrame, drawOverlay, paintGrid } from "./drawing.js";
import { peakOf } from "./rows.js";
import { SETTINGS } from "./settings.js";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// `choose(row, cell)` is called when a reader chooses one; `show(selected)` marks it.
export function overlayPanel(section, rows, choose) {
  const shape = section.picture.shape;
  const buttons = [];
  const panel = element("div", { class: "rows" });
  panel.style.setProperty("--most", String(Math.min(8, Math.max(4, ...rows.map((row) => row.cells.length)))));
  rows.forEach((row, r) => {
    buttons.push(row.cells.map((name, c) => overlayButton(shape, row, name, () => choose(r, c))));
    const note = row.follows ? null : element("span", { class: "note", text: "the same for every patch" });
    panel.append(
      element(
        "div",
        { class: "row", role: "group", "aria-label": row.name },
        element("h3", {}, given(row.name, "bdi", { title: row.name }), note),
        element("div", { class: "cells" }, ...buttons[r].map((button) => button.element)),
      ),
    );
  });
  panel.addEventListener("keydown", (event) => {
    const at = placeOf(buttons, event.target);
    if (at === null || !(event.key in MOVES)) return;
    event.preventDefault();
    const row = clamp(at.row + MOVES[event.key][0], buttons.length);
    const cell = clamp(at.cell + MOVES[event.key][1], buttons[row].length);
    choose(row, cell);
    buttons[row][cell].element.focus();
  });
  return {
    element: panel,
    show(selected) {
      buttons.forEach((cells, r) =>
        cells.forEach(({ element: button }, c) => {
          const isChosen = r === selected.row && c === selected.cell;
          button.setAttribute("aria-pressed", String(isChosen));
          button.tabIndex = isChosen ? 0 : -1;
        }),
      );
    },
    // All pictures first, all numbers after: text that changes in between would make the browser lay out the page anew.
    draw(picture, shown) {
      const numbers = [];
      rows.forEach((row, r) => {
        const { unit, values } = row.maps(shown);
        buttons[r].forEach((button, c) => {
          const peak = peakOf(values[c], section);
          drawButton(button, section, picture, values[c], peak, row.follows ? shown : null);
          numbers.push([button.most, unit.format(peak.value)]);
        });
      });
      for (const [label, text] of numbers) label.textContent = text;
    },
  };
}

function overlayButton(shape, row, name, choose) {
  const canvas = element("canvas", { "aria-hidden": "true", style: { aspectRatio: aspectOf(shape) } });
  const most = element("span", { class: "most" });
  const label = element("span", { class: "name", text: name });
  const button = element(
    "button",
    { type: "button", class: "overlay", "aria-label": `${row.name}, ${name}`, on: { click: choose } },
    canvas,
    element("span", { class: "under" }, label, most),
  );
  return { element: button, canvas, most };
}

// A very long or very high picture keeps room around it rather than an unreadable shape.
export function aspectOf([height, width]) {
  return String(Math.min(3, Math.max(1 / 2, width / height)));
}

function drawButton(button, section, picture, values, peak, patch) {
  const [rows, columns] = section.grid;
  const colours = paintGrid(values, section.classTokens, rows, columns, makeScale(SETTINGS.scale, peak.value));
  const drawn = drawOverlay(button.canvas, picture, colours, SETTINGS.opacity);
  if (drawn !== null && patch !== null) drawFrame(drawn.context, cellBox(drawn.box, rows, columns, patch), { thick: 1 });
}

function clamp(index, count) {
  return Math.min(count - 1, Math.max(0, index));
}

function placeOf(buttons, target) {
  for (let row = 0; row < buttons.length; row++) {
    const cell = buttons[row].findIndex((button) => button.element === target);
    if (cell >= 0) return { row, cell };
  }
  return null;
}
