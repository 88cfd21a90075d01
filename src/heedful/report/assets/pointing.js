// Mouse, touch and keys: on anything that can be pointed at, and on a canvas that shows a grid of cells { row, column }.

const STEPS_OF_KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// Whether a key is meant for the browser or the system.
export function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey;
}

// An index within a list of `count`.
export function clamp(index, count) {
  return Math.max(0, Math.min(count - 1, index));
}

// `locate(event)` says what lies under the pointer, or null. Touch points at nothing: it only picks.
export function watchPointer(target, locate, { point, pick }, move = "pointermove") {
  target.addEventListener(move, (event) => event.pointerType !== "touch" && point(locate(event)));
  target.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && point(null));
  target.addEventListener("click", (event) => {
    const found = locate(event);
    if (found !== null) pick(found);
  });
}

// `grid` has rows, columns, locate(x, y) -> cell or null (in CSS pixels of the canvas) and current() -> cell or null;
// its handlers are point(cell or null), pick(cell) and release().
export function watchGrid(canvas, grid) {
  watchPointer(canvas, (event) => grid.locate(event.offsetX, event.offsetY), grid);
  canvas.addEventListener("keydown", (event) => {
    if (hasModifier(event)) return;
    if (event.key in STEPS_OF_KEYS) grid.point(stepped(grid, ...STEPS_OF_KEYS[event.key]));
    else if (event.key === "Enter" || event.key === " ") grid.pick(grid.current() ?? middleOf(grid));
    else if (event.key === "Escape") grid.release();
    else return;
    event.preventDefault();
  });
}

function middleOf({ rows, columns }) {
  return { row: Math.floor(rows / 2), column: Math.floor(columns / 2) };
}

function stepped(grid, down, right) {
  const from = grid.current();
  if (from === null) return middleOf(grid);
  return {
    row: clamp(from.row + down, grid.rows),
    column: clamp(from.column + right, grid.columns),
  };
}

// The cell of a grid drawn into `box` that lies under a point.
export function cellUnder(box, rows, columns, x, y) {
  const row = Math.floor(((y - box.y) / box.height) * rows);
  const column = Math.floor(((x - box.x) / box.width) * columns);
  return row < 0 || column < 0 || row >= rows || column >= columns ? null : { row, column };
}
