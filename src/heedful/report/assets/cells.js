// Cells over positions: where they begin, and how weights are pooled into them and spread out of them.
//
// Edges are where cells begin, and where the last of them ends. No cell lies across a cut: special tokens share none with others.

// Where a cell of `count` cells over `length` positions begins.
export function cellStart(cell, count, length) {
  return Math.ceil((cell * length) / count);
}

// Edges of so many cells, as alike as they can be.
export function evenEdges(count, length, start = 0) {
  return Int32Array.from({ length: count + 1 }, (_, cell) => start + cellStart(cell, count, length));
}

// Edges of about so many cells from `start` up to `end`, none of them across a cut.
export function edgesBetween(start, end, most, cuts) {
  const inner = cuts.filter((cut) => cut > start && cut < end);
  const length = end - start;
  if (inner.length === 0 || length <= most) return evenEdges(Math.min(most, length), length, start);
  const bounds = [start, ...inner, end];
  const edges = [];
  for (let at = 0; at + 1 < bounds.length; at++) {
    const own = bounds[at + 1] - bounds[at];
    const cells = Math.min(own, 1 + Math.floor(((most + inner.length - 1) * own) / length));
    for (let cell = 0; cell < cells; cell++) edges.push(bounds[at] + cellStart(cell, cells, own));
  }
  return Int32Array.from([...edges, end]);
}

// The cell of a position.
export function cellOf(position, edges) {
  return lastWhere(edges.length - 1, (cell) => edges[cell] <= position);
}

// The cell of each position from the first edge to the last, counted from 0.
export function cellsOf(edges) {
  const cells = new Int32Array(edges[edges.length - 1] - edges[0]);
  for (let cell = 0; cell + 1 < edges.length; cell++) cells.fill(cell, edges[cell] - edges[0], edges[cell + 1] - edges[0]);
  return cells;
}

// The last of `count` items for which a condition holds that holds for the first ones alone; the first where it never does.
export function lastWhere(count, holds) {
  let [low, high] = [0, count - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

// Cells laid out over their positions: each value as it is, or divided among the positions of its cell.
export function spread(cells, edges, { isDivided }) {
  const values = new Float32Array(edges[cells.length]);
  for (let cell = 0; cell < cells.length; cell++) {
    const [start, end] = [edges[cell], edges[cell + 1]];
    values.fill(isDivided ? cells[cell] / (end - start) : cells[cell], start, end);
  }
  return values;
}

// The largest weight of each of at most `most` cells, so that no peak is lost on a narrow axis.
export function peaksOf(weights, most) {
  const count = Math.max(1, Math.min(weights.length, Math.round(most)));
  if (count === weights.length) return weights;
  const peaks = new Float32Array(count);
  for (let cell = 0; cell < count; cell++) {
    const end = cellStart(cell + 1, count, weights.length);
    for (let at = cellStart(cell, count, weights.length); at < end; at++) if (weights[at] > peaks[cell]) peaks[cell] = weights[at];
  }
  return peaks;
}

// The mean row of a map { rows, columns, values, rowEdges } over all queries: what each column receives.
export function meanRowOfMap({ rows, columns, values, rowEdges }) {
  const sums = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    const share = (rowEdges[row + 1] - rowEdges[row]) / rowEdges[rows];
    for (let column = 0; column < columns; column++) sums[column] += share * values[row * columns + column];
  }
  return sums;
}

// The values of cells as they are drawn: a cell of a few keys less than the widest is shown as if it had as many, or stripes
// would appear.
export function evened(values, columnEdges) {
  const columns = columnEdges.length - 1;
  const widths = Array.from({ length: columns }, (_, column) => columnEdges[column + 1] - columnEdges[column]);
  const widest = widths.reduce((a, b) => Math.max(a, b));
  const factors = widths.map((width) => (width > widest / 2 ? widest / width : 1));
  return factors.every((factor) => factor === 1) ? values : values.map((value, at) => value * factors[at % columns]);
}

// A part of a matrix of all pairs, pooled into cells { rowEdges, columnEdges }.
export function poolPairs(all, keys, { rowEdges, columnEdges }) {
  const [rows, columns] = [rowEdges.length - 1, columnEdges.length - 1];
  const values = new Float32Array(rows * columns);
  const columnOf = cellsOf(columnEdges);
  for (let row = 0; row < rows; row++) {
    for (let i = rowEdges[row]; i < rowEdges[row + 1]; i++) {
      for (let j = 0, at = i * keys + columnEdges[0]; j < columnOf.length; j++, at++) values[row * columns + columnOf[j]] += all[at];
    }
  }
  return meansOf(values, { rowEdges, columnEdges });
}

// A window { top, bottom, left, right, rows, columns, values, rowEdges, columnEdges } of what queries of a cell gave together.
function meansOf(values, { rowEdges, columnEdges }) {
  const [rows, columns] = [rowEdges.length - 1, columnEdges.length - 1];
  for (let at = 0; at < values.length; at++) {
    const row = Math.floor(at / columns);
    values[at] /= rowEdges[row + 1] - rowEdges[row];
  }
  return { top: rowEdges[0], bottom: rowEdges[rows], left: columnEdges[0], right: columnEdges[columns], rows, columns, values, rowEdges, columnEdges };
}

// Cells of a map that cover a part of the matrix, taken together so that there are about so many; `cuts` are those of queries
// and of keys.
export function poolMap(grid, { top, bottom, left, right }, rows, columns, cuts) {
  const [groupsDown, groupsAcross] = [grouped(grid.rowEdges, top, bottom, rows, cuts.rows), grouped(grid.columnEdges, left, right, columns, cuts.columns)];
  const across = cellsOf(groupsAcross);
  const values = new Float32Array((groupsDown.length - 1) * (groupsAcross.length - 1));
  cellsOf(groupsDown).forEach((row, i) => {
    const from = groupsDown[0] + i;
    const queries = grid.rowEdges[from + 1] - grid.rowEdges[from];
    across.forEach((column, j) => {
      values[row * (groupsAcross.length - 1) + column] += queries * grid.values[from * grid.columns + groupsAcross[0] + j];
    });
  });
  return meansOf(values, { rowEdges: groupsDown.map((cell) => grid.rowEdges[cell]), columnEdges: groupsAcross.map((cell) => grid.columnEdges[cell]) });
}

// Edges of cells of cells: the numbers of those of a map that cover some positions, taken together.
function grouped(edges, start, end, most, cuts) {
  const isCut = new Set(cuts);
  const inner = Array.from(edges.keys()).filter((cell) => isCut.has(edges[cell]));
  return edgesBetween(cellOf(start, edges), cellOf(end - 1, edges) + 1, most, inner);
}
