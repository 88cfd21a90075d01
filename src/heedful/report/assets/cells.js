// Cells of equal size over positions: where they begin, and how weights are pooled into them and spread out of them.

// Where a cell of `count` cells over `length` positions begins.
export function cellStart(cell, count, length) {
  return Math.ceil((cell * length) / count);
}

export function cellOf(position, count, length) {
  return Math.floor((position * count) / length);
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

// Cells laid out over `length` positions: each value as it is, or divided among the positions of its cell.
export function spread(cells, length, { isDivided }) {
  const values = new Float32Array(length);
  for (let cell = 0; cell < cells.length; cell++) {
    const [start, end] = [cellStart(cell, cells.length, length), cellStart(cell + 1, cells.length, length)];
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

// The mean row of a map { rows, columns, values } over so many queries: what each column receives.
export function meanRowOfMap({ rows, columns, values }, queries) {
  const sums = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    const share = (cellStart(row + 1, rows, queries) - cellStart(row, rows, queries)) / queries;
    for (let column = 0; column < columns; column++) sums[column] += share * values[row * columns + column];
  }
  return sums;
}

// A part of a matrix of all pairs, pooled into cells.
export function poolPairs(all, keys, { top, bottom, left, right }, rows, columns) {
  const [height, width] = [bottom - top, right - left];
  [rows, columns] = [Math.min(rows, height), Math.min(columns, width)];
  const values = new Float32Array(rows * columns);
  const cellOfColumn = Int32Array.from({ length: width }, (_, j) => cellOf(j, columns, width));
  const counts = new Float32Array(rows);
  for (let i = 0; i < height; i++) {
    const row = cellOf(i, rows, height);
    counts[row] += 1;
    for (let j = 0, at = (top + i) * keys + left; j < width; j++, at++) values[row * columns + cellOfColumn[j]] += all[at];
  }
  for (let at = 0; at < values.length; at++) values[at] /= counts[Math.floor(at / columns)];
  return { top, bottom, left, right, rows, columns, values, exact: true };
}

// Cells of a map that cover a part of the matrix, taken together so that there are at most so many.
export function poolMap(grid, { queries, keys }, { top, bottom, left, right }, rows, columns) {
  const [firstRow, lastRow] = [cellOf(top, grid.rows, queries), cellOf(bottom - 1, grid.rows, queries)];
  const [firstColumn, lastColumn] = [cellOf(left, grid.columns, keys), cellOf(right - 1, grid.columns, keys)];
  const [height, width] = [lastRow - firstRow + 1, lastColumn - firstColumn + 1];
  const exact = grid.rows === queries && grid.columns === keys;
  [rows, columns] = [Math.min(rows, height), Math.min(columns, width)];
  const values = new Float32Array(rows * columns);
  const counts = new Float32Array(rows);
  for (let i = 0; i < height; i++) {
    const row = cellOf(i, rows, height);
    const queriesHere = cellStart(firstRow + i + 1, grid.rows, queries) - cellStart(firstRow + i, grid.rows, queries);
    counts[row] += queriesHere;
    for (let j = 0; j < width; j++) {
      values[row * columns + cellOf(j, columns, width)] += queriesHere * grid.values[(firstRow + i) * grid.columns + firstColumn + j];
    }
  }
  for (let at = 0; at < values.length; at++) values[at] /= counts[Math.floor(at / columns)];
  return {
    top: cellStart(firstRow, grid.rows, queries),
    bottom: cellStart(lastRow + 1, grid.rows, queries),
    left: cellStart(firstColumn, grid.columns, keys),
    right: cellStart(lastColumn + 1, grid.columns, keys),
    rows,
    columns,
    values,
    exact,
  };
}
