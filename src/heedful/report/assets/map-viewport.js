// Which part of a matrix is in view: { top, bottom, left, right } in positions, not always whole ones.

const FEWEST = 6; // positions in view at the largest zoom

// What is seen of a layer: { queries, keys, fewestRows, fewestColumns }; where only a map is held (`grid`, its shape), there
// is nothing to see within its cells.
export function frameOf({ queries, keys, holds }, grid = null) {
  const fewest = (cells, length) => Math.min(length, holds === "map" && grid !== null ? Math.max(FEWEST, (4 * length) / cells) : FEWEST);
  return { queries, keys, fewestRows: fewest(grid?.[1], queries), fewestColumns: fewest(grid?.[2], keys) };
}

export function wholeOf({ queries, keys }) {
  return { top: 0, bottom: queries, left: 0, right: keys };
}

export function isWhole(view, { queries, keys }) {
  return view.top <= 0 && view.left <= 0 && view.bottom >= queries && view.right >= keys;
}

// Larger (factor below 1) or smaller around a place in view, each of 0 to 1.
export function zoomed(view, factor, down, right, frame) {
  const [height, width] = [view.bottom - view.top, view.right - view.left];
  const newHeight = Math.min(frame.queries, Math.max(frame.fewestRows, height * factor));
  const newWidth = Math.min(frame.keys, Math.max(frame.fewestColumns, width * factor));
  const top = view.top + down * (height - newHeight);
  const left = view.left + right * (width - newWidth);
  return inside({ top, bottom: top + newHeight, left, right: left + newWidth }, frame);
}

export function moved(view, down, right, frame) {
  return inside({ top: view.top + down, bottom: view.bottom + down, left: view.left + right, right: view.right + right }, frame);
}

// A view of at least the fewest rows and columns, moved so that it lies in the matrix.
export function inside(view, frame) {
  const [top, bottom] = between(view.top, view.bottom, frame.fewestRows, frame.queries);
  const [left, right] = between(view.left, view.right, frame.fewestColumns, frame.keys);
  return { top, bottom, left, right };
}

function between(start, end, fewest, length) {
  const size = Math.min(length, Math.max(fewest, end - start));
  const from = Math.min(length - size, Math.max(0, (start + end - size) / 2));
  return [from, from + size];
}

// Whole positions that a view touches.
export function touched(view, frame) {
  return {
    top: Math.max(0, Math.floor(view.top + 1e-6)),
    bottom: Math.min(frame.queries, Math.ceil(view.bottom - 1e-6)),
    left: Math.max(0, Math.floor(view.left + 1e-6)),
    right: Math.min(frame.keys, Math.ceil(view.right - 1e-6)),
  };
}

// A view as the address has it, "top,left,bottom,right"; null for the whole.
export function writeView(view, frame) {
  if (isWhole(view, frame)) return null;
  const { top, left, bottom, right } = touched(view, frame);
  return [top, left, bottom, right].join();
}

// A view from an address; the whole where the words are none that fits.
export function readView(words, frame) {
  const numbers = /^\d{1,9}(,\d{1,9}){3}$/.test(words ?? "") ? words.split(",").map(Number) : null;
  if (numbers === null) return wholeOf(frame);
  const [top, left, bottom, right] = numbers;
  if (top >= bottom || left >= right || bottom > frame.queries || right > frame.keys) return wholeOf(frame);
  return inside({ top, bottom, left, right }, frame);
}
