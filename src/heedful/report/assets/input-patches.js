// A picture of patches, of which one can be chosen as the query, and over which weights lie as colors.
import { colorBar } from "./color-bar.js";
import { element } from "./dom.js";
import { cellBox, drawFrame, drawRing, paintGrid } from "./drawing.js";
import { percent } from "./format.js";
import { chipRow } from "./input-chips.js";
import { drawOverlay, drawPicture, fitInto, openPicture } from "./picture.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { largestOf } from "./weights.js";

const PICTURES = new WeakMap(); // opened ones, by the reference to their pixels

function pictureOf(side) {
  if (!PICTURES.has(side.picture)) PICTURES.set(side.picture, openPicture(side.picture));
  return PICTURES.get(side.picture);
}

// A very long or very high picture keeps space around it rather than an unreadable shape.
export function aspectOf([height, width]) {
  return String(Math.min(3, Math.max(1 / 2, width / height)));
}

// Draws weights over a picture; returns { context, box } or null while the canvas is hidden.
export function drawShares(canvas, side, weights, scale, opacity) {
  const [rows, columns] = side.grid;
  return drawOverlay(canvas, pictureOf(side), paintGrid(weights, side.extra.length, rows, columns, scale), opacity);
}

// `role` is "query", "key" or "both"; `act` is { current(), point(position), pick(position), release() }.
export function patchesPanel(side, { role, act, opacity, setOpacity }) {
  const [rows, columns] = side.grid;
  const before = side.extra.length;
  const isKey = role !== "query";
  const canvas = element("canvas", {
    class: "input-picture",
    tabindex: "0",
    role: "application",
    "aria-roledescription": isKey ? "attention over a picture" : "picture of queries",
    "aria-label": `${side.name}: ${rows} by ${columns} patches. Arrow keys move from patch to patch.`,
    style: { aspectRatio: aspectOf(side.picture.shape) },
  });
  const bar = isKey ? colorBar() : null;
  const beforeWords = "Tokens that are not patches";
  const extra = before === 0 ? null : chipRow(side, { end: before, label: beforeWords, act, isChosen: role !== "key", withNumbers: isKey });
  const slider = element("input", { type: "range", min: "0", max: "1", step: "0.05", on: { input: () => setOpacity(slider.value) } });
  const labeled = element("label", { class: "slider" }, element("span", { text: "Opacity" }), slider);
  const settings = element("div", { class: "input-settings" }, isKey ? labeled : null);
  // The picture as it is stands beside its overlay, with the opacity below it.
  const original = isKey ? element("canvas", { class: "input-original", role: "img", "aria-label": side.name, style: { aspectRatio: aspectOf(side.picture.shape) } }) : null;
  const pair = isKey ? element("div", { class: "input-overlay" }, canvas, element("div", { class: "input-stack" }, original, settings)) : canvas;
  const body = element("div", { class: "input-patches" }, pair, bar?.element, extra?.element, isKey ? null : settings);
  const cellOf = (position) => {
    const patch = position === null ? -1 : position - before;
    return patch < 0 ? null : { row: Math.floor(patch / columns), column: patch % columns };
  };
  const positionOf = (cell) => (cell === null ? null : before + cell.row * columns + cell.column);

  watchGrid(canvas, {
    rows,
    columns,
    locate: (x, y) => cellUnder(fitInto(canvas.clientWidth, canvas.clientHeight, pictureOf(side)), rows, columns, x, y),
    current: () => cellOf(act.current()),
    point: (cell) => act.point(positionOf(cell)),
    pick: (cell) => act.pick(positionOf(cell)),
    release: act.release,
  });

  return {
    element: body,
    canvas,
    settings,
    draw({ weights, isHeld, isMean, scale, words, shown, pinned, probe }) {
      slider.value = String(opacity());
      if (original !== null) drawPicture(original, pictureOf(side));
      const drawn = isKey ? drawShares(canvas, side, weights, scale, opacity()) : drawPlain();
      extra?.draw({ weights: isKey ? weights : null, isHeld, most: 1, shown, pinned, probe });
      bar?.show(scale, words, percent);
      if (drawn === null) return;
      const boxOf = (cell) => cellBox(drawn.box, rows, columns, cell);
      const [peak] = isKey && !isMean ? largestOf(weights, 1, before) : [];
      if (peak !== undefined) drawRing(drawn.context, boxOf(cellOf(peak)));
      const [pointed, query] = [cellOf(probe), role === "key" ? null : cellOf(shown)];
      if (pointed !== null) drawFrame(drawn.context, boxOf(pointed), { dashed: true, thick: 1 });
      if (query !== null) drawFrame(drawn.context, boxOf(query));
    },
  };

  function drawPlain() {
    return drawShares(canvas, side, new Float32Array(side.count), { fraction: () => 0 }, 0);
  }
}
