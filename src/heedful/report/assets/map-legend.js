// Beside a map: what its colors mean, and what its cells are.
import { colorBar } from "./color-bar.js";
import { element } from "./dom.js";
import { number, percent, whole } from "./format.js";
import { massInView } from "./map-tiles.js";

const MORE = { links: " Zoom in for the largest weights of each row.", pairs: " Zoom in for single pairs.", live: " Zoom in for single pairs.", rows: " Zoom in for single pairs.", map: " The file holds no single pairs." };

export function mapLegend() {
  const bar = colorBar();
  const note = element("p", { class: "note map-note" });
  let shown = null; // the tile and the scale of the bar
  return {
    bar: bar.element,
    note,
    show(tile, kind, view, frame, layer) {
      if (shown?.tile !== tile || shown.kind !== kind) bar.show(tile.scale(kind), cellWords(tile), percent);
      shown = { tile, kind };
      const words = noteWords(tile, view, frame, layer);
      if (note.textContent !== words) note.textContent = words;
    },
  };
}

// What the number of a cell is.
export function cellWords(tile) {
  const isSingle = tile.links !== null || tile.rows * tile.columns === (tile.bottom - tile.top) * (tile.right - tile.left);
  return isSingle ? "attention weight" : "attention from a query to all keys of a cell";
}

function noteWords(tile, view, frame, layer) {
  if (tile.links) return `Largest weights shown: ${percent(massInView(tile, view))} of the mass of these rows. Behind them, faint: the mean weight in each cell.`;
  const size = `${whole(frame.queries)} \u00d7 ${whole(frame.keys)} pairs`;
  const [high, wide] = [(tile.bottom - tile.top) / tile.rows, (tile.right - tile.left) / tile.columns];
  if (high <= 1 && wide <= 1) return `${size}, one per cell.`;
  return `${size} in cells of ${number(high)} \u00d7 ${number(wide)}.${MORE[layer.holds] ?? ""}`;
}
