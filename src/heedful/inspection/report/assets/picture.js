// A section with a picture: point at a patch, and every head of every layer shows where that patch looks.
import { colourBar, makeScale } from "./colour.js";
import { choice, element, given } from "./dom.js";
import { cellBox, drawFrame, drawOverlay, drawPicture, drawRing, fitInto, openPicture, paintGrid } from "./drawing.js";
import { aspectOf, overlayPanel } from "./overlays.js";
import { cellUnder, sameCell, watchGrid } from "./pointing.js";
import { predictionList } from "./predictions.js";
import { openRows, peakOf } from "./rows.js";
import { changeSettings, onSettings, SETTINGS } from "./settings.js";

const SCALES = [["linear", "linear"], ["sqrt", "square root"]];

export function pictureSection(section) {
  const rows = openRows(section);
  const [gridRows, gridColumns] = section.grid;
  const lastLayer = Math.max(0, section.layers.length - 1);
  const state = {
    row: section.pooling === null ? lastLayer : section.layers.length,
    cell: 0,
    pointed: null,
    pinned: null,
    wasDrawn: false,
    isWaiting: false,
  };
  let opened = null;
  const picture = () => (opened ??= openPicture(section.picture));
  const shown = () => state.pinned ?? state.pointed;

  const canvas = element("canvas", {
    class: "large",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "attention over a picture",
    "aria-label": `${section.title}: ${gridRows} by ${gridColumns} patches. Arrow keys move from patch to patch.`,
    style: { aspectRatio: aspectOf(section.picture.shape) },
  });
  const readout = element("p", { class: "readout", role: "status", "aria-live": "polite" });
  const release = element("button", { type: "button", class: "release", text: "Back to the decision", on: { click: back } });
  const bar = colourBar();
  const settings = pictureControls();
  const predictions = predictionList(section);
  const overlays = overlayPanel(section, rows, (row, cell) => choose(row, cell));
  const stage = element(
    "div",
    { class: "stage" },
    canvas,
    bar.element,
    readout,
    element("div", { class: "controls" }, release, settings.element),
  );
  const body = element(
    "div",
    { class: "picture" },
    section.caption ? given(section.caption, "p", { class: "lead caption" }) : null,
    element("div", { class: "beside" }, stage, element("div", { class: "panel" }, predictions.element, overlays.element)),
  );

  watchGrid(canvas, {
    rows: gridRows,
    columns: gridColumns,
    locate: (x, y) => {
      const box = fitInto(canvas.clientWidth, canvas.clientHeight, picture());
      return cellUnder(box, gridRows, gridColumns, x, y);
    },
    current: () => state.pointed ?? state.pinned,
    point(cell) {
      if (cell === state.pointed || sameCell(cell, state.pointed)) return;
      state.pointed = cell;
      later();
    },
    pick(cell) {
      const isAgain = sameCell(cell, state.pinned);
      state.pinned = isAgain ? null : cell;
      state.pointed = isAgain ? null : cell;
      later();
    },
    release: back,
  });
  body.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[state.row];
    const mean = row.heads > 1 ? 1 : 0;
    if (event.key === "[") choose(state.row - 1, state.cell);
    else if (event.key === "]") choose(state.row + 1, state.cell);
    else if (event.key === ",") choose(state.row, state.cell - 1);
    else if (event.key === ".") choose(state.row, state.cell + 1);
    else if (event.key === "m") choose(state.row, 0);
    else if (event.key === "Escape") back();
    else if (/^\d$/.test(event.key) && Number(event.key) < row.heads) choose(state.row, Number(event.key) + mean);
    else return;
    event.preventDefault();
  });
  onSettings(later);
  overlays.show(state);

  function choose(row, cell) {
    state.row = Math.min(rows.length - 1, Math.max(0, row));
    state.cell = Math.min(rows[state.row].cells.length - 1, Math.max(0, cell));
    overlays.show(state);
    later();
  }

  function back() {
    state.pinned = null;
    state.pointed = null;
    later();
  }

  // Draws with the next frame, once for however many changes; a section that was never seen waits for its turn.
  function later() {
    if (!state.wasDrawn || state.isWaiting) return;
    state.isWaiting = true;
    window.requestAnimationFrame(() => {
      state.isWaiting = false;
      draw();
    });
  }

  function draw() {
    state.wasDrawn = true;
    settings.show(SETTINGS);
    release.disabled = shown() === null;
    drawPicture(predictions.canvas, picture());
    overlays.draw(picture(), shown());
    drawLarge();
  }

  function drawLarge() {
    const row = rows[state.row];
    const { subject, unit, values } = row.maps(shown());
    const map = values[state.cell];
    const peak = peakOf(map, section);
    const scale = makeScale(SETTINGS.scale, peak.value);
    bar.show(scale, `${row.name}, ${row.cells[state.cell]}`, unit.format);
    const colours = paintGrid(map, section.classTokens, gridRows, gridColumns, scale);
    const drawn = drawOverlay(canvas, picture(), colours, SETTINGS.opacity);
    if (drawn !== null) {
      const boxOf = (cell) => cellBox(drawn.box, gridRows, gridColumns, cell);
      drawRing(drawn.context, boxOf(peak));
      if (state.pinned !== null && state.pointed !== null) drawFrame(drawn.context, boxOf(state.pointed), { dashed: true, thick: 1 });
      if (shown() !== null) drawFrame(drawn.context, boxOf(shown()));
    }
    readout.replaceChildren(
      given(row.name),
      `, ${row.cells[state.cell]}, ${subject}: max ${unit.format(peak.value)}${unit.after} at (${peak.row}, ${peak.column})`,
      section.classTokens > 0 ? `; class token ${unit.format(map[0])}` : "",
      probeWords(map, unit),
    );
  }

  // Once a patch is pinned, pointing reads single numbers.
  function probeWords(map, unit) {
    if (state.pinned === null) return "";
    const cell = state.pointed;
    if (cell === null) return ". Pinned.";
    const value = map[section.classTokens + cell.row * gridColumns + cell.column];
    return `. Pinned; on patch (${cell.row}, ${cell.column}): ${unit.format(value)}`;
  }

  return { body, draw, thumbnail: (small) => drawPicture(small, picture()) };
}

// Opacity and colour scale, the same for every picture of the report.
function pictureControls() {
  const slider = element("input", { type: "range", min: "0", max: "1", step: "0.05" });
  slider.addEventListener("input", () => changeSettings({ opacity: Number(slider.value) }));
  const scale = choice("Colour scale", SCALES, SETTINGS.scale, (kind) => changeSettings({ scale: kind }));
  const opacity = element("label", { class: "slider" }, element("span", { text: "Opacity" }), slider);
  return {
    element: element("div", { class: "settings" }, opacity, scale.element),
    show(settings) {
      slider.value = String(settings.opacity);
      scale.show(settings.scale);
    },
  };
}
