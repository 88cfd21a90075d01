// Mouse, touch and keys on a canvas that shows a grid, as cells { row, column }.

const STEPS_OF_KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// `grid` has rows, columns, locate(x, y) -> cell or null (in CSS pixels of the canvas) and current() -> cell or null;
// its handlers are point(cell or null), pick(cell) and release().
export function watchGrid(canvas, grid) {
  const cellAt = (event) => grid.locate(event.offsetX, event.offsetY);
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") grid.point(cellAt(event));
  });
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") grid.point(null);
  });
  canvas.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell !== null) grid.pick(cell);
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
    row: Math.min(grid.rows - 1, Math.max(0, from.row + down)),
    column: Math.min(grid.columns - 1, Math.max(0, from.column + right)),
  };
}

// The cell of a grid drawn into `box` that lies under a point.
export function cellUnder(box, rows, columns, x, y) {
  const row = Math.floor(((y - box.y) / box.height) * rows);
  const column = Math.floor(((x - box.x) / box.width) * columns);
  return row < 0 || column < 0 || row >= rows || column >= columns ? null : { row, column };
}
