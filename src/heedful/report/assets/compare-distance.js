// Two maps held against each other: their cells, and numbers of how far they are apart.
const FINEST = 360; // cells along an axis

// The maps of two heads, in the same cells where they are of one shape: { left, right, difference, why }. Each side is
// { layer, heads }; `difference` is right less left, null where there is none, and then `why` says so.
export async function gridsOf(one, other) {
  const isSame = one.layer.queries === other.layer.queries && one.layer.keys === other.layer.keys;
  let [left, right] = await Promise.all([windowOf(one), windowOf(other)]);
  if (isSame && !fits(left, right)) {
    const [rows, columns] = [Math.min(left.rows, right.rows), Math.min(left.columns, right.columns)];
    [left, right] = await Promise.all([windowOf(one, rows, columns), windowOf(other, rows, columns)]);
  }
  if (!isSame) return { left, right, difference: null, why: `A difference needs equal shapes: left is ${shape(one.layer)}, right is ${shape(other.layer)}.` };
  if (!fits(left, right)) return { left, right, difference: null, why: "The file holds the two maps in cells of different sizes." };
  return { left, right, difference: Float32Array.from(right.values, (value, at) => value - left.values[at]), why: "" };
}

// The whole matrix of some heads in so many cells. An axis is halved until it fits, so that all cells are of one size.
function windowOf({ layer, heads }, rows = halved(layer.queries), columns = halved(layer.keys)) {
  return layer.window(heads, { top: 0, bottom: layer.queries, left: 0, right: layer.keys }, rows, columns);
}

function halved(length) {
  while (length > FINEST) length = Math.ceil(length / 2);
  return length;
}

function fits(left, right) {
  return left.rowEdges.join() === right.rowEdges.join() && left.columnEdges.join() === right.columnEdges.join();
}

function shape({ queries, keys }) {
  return `${queries} × ${keys}`;
}

// How far two heads are apart: { absolute, cosine, variation, isExact, rows, columns }, from all pairs where the file holds
// them, else from the cells of their maps. Total variation is half the sum of a row's absolute differences.
export async function distanceOf(one, other, grids) {
  if (grids.difference === null) return null;
  const { queries, keys } = one.layer;
  const [a, b] = await Promise.all([one.layer.matrix(one.heads), other.layer.matrix(other.heads)]);
  if (a !== null && b !== null) return { ...measured(a, b, queries, keys, () => 1), isExact: true, rows: queries, columns: keys };
  const { rows, columns } = grids.left;
  const weightOf = (row) => grids.left.rowEdges[row + 1] - grids.left.rowEdges[row];
  return { ...measured(grids.left.values, grids.right.values, rows, columns, weightOf), isExact: false, rows, columns };
}

function measured(a, b, rows, columns, weightOf) {
  let [absolute, product, squareA, squareB, total] = [0, 0, 0, 0, 0];
  for (let row = 0, at = 0; row < rows; row++) {
    let [away, both, ownA, ownB] = [0, 0, 0, 0];
    for (let column = 0; column < columns; column++, at++) {
      away += Math.abs(a[at] - b[at]);
      both += a[at] * b[at];
      ownA += a[at] * a[at];
      ownB += b[at] * b[at];
    }
    const weight = weightOf(row);
    absolute += weight * away;
    product += weight * both;
    squareA += weight * ownA;
    squareB += weight * ownB;
    total += weight;
  }
  const size = Math.sqrt(squareA * squareB);
  return { absolute: absolute / (total * columns), cosine: size > 0 ? product / size : null, variation: absolute / (2 * total) };
}
