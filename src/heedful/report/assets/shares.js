// What is shown of a layer over its keys, as shares of one: what one query gives, or what all queries give in the mean.
import { meanOf } from "./attention.js";
import { cellStart } from "./store.js";

// { weights, mass, exact, block }: `mass` is how much of the row is known, `block` the span of queries of which only the
// mean is known, or null. Without a query it is what the keys receive.
export function readShares(layer, heads, query) {
  return query === null ? received(layer, heads) : given(layer, heads, query);
}

async function given(layer, heads, query) {
  const rows = await Promise.all(heads.map((head) => rowOnce(layer, head, query)));
  if (rows[0] !== null) return { ...meanOfRows(rows), block: null };
  const { keys } = layer;
  const found = await layer.window(heads, { top: query, bottom: query + 1, left: 0, right: keys }, 1, keys);
  const weights = spread(found.values, keys, true);
  return { weights, mass: sumOf(weights), exact: found.exact, block: found.exact ? null : [found.top, found.bottom] };
}

// The rows of one query are asked for again and again, alone and for means.
const ROWS = new WeakMap();

function rowOnce(layer, head, query) {
  if (ROWS.get(layer)?.query !== query) ROWS.set(layer, { query, rows: new Map() });
  const { rows } = ROWS.get(layer);
  if (!rows.has(head)) rows.set(head, layer.row([head], query));
  return rows.get(head);
}

function meanOfRows(rows) {
  if (rows.length === 1) return rows[0];
  const weights = new Float32Array(rows[0].weights.length);
  for (const row of rows) for (let j = 0; j < weights.length; j++) weights[j] += row.weights[j];
  for (let j = 0; j < weights.length; j++) weights[j] /= rows.length;
  return { weights, mass: sumOf(weights), exact: rows.every((row) => row.exact) };
}

async function received(layer, heads) {
  const { queries, keys } = layer;
  const curves = await Promise.all(heads.map((head) => layer.curve("received", head)));
  const curve = curves.includes(null) ? null : meanOf(curves);
  if (curve !== null && curve.length === keys) return shares(curve.map((sum) => sum / queries), true);
  const all = await layer.matrix(heads);
  if (all !== null) return shares(columnMeans(all, queries, keys), true);
  if (curve !== null) return shares(spread(curve, keys, false).map((sum) => sum / queries), false);
  const { rows, columns, values } = await layer.map(heads);
  const sums = new Float32Array(columns);
  for (let row = 0; row < rows; row++) {
    const here = cellStart(row + 1, rows, queries) - cellStart(row, rows, queries);
    for (let column = 0; column < columns; column++) sums[column] += (here / queries) * values[row * columns + column];
  }
  return shares(spread(sums, keys, true), columns === keys);
}

function shares(weights, exact) {
  return { weights, mass: 1, exact, block: null };
}

function columnMeans(all, queries, keys) {
  const sums = new Float64Array(keys);
  for (let i = 0, at = 0; i < queries; i++) for (let j = 0; j < keys; j++, at++) sums[j] += all[at];
  return Float32Array.from(sums, (sum) => sum / queries);
}

// Numbers of cells laid out over the keys that they cover: each as it is, or divided among them.
function spread(values, keys, isDivided) {
  const weights = new Float32Array(keys);
  for (let cell = 0; cell < values.length; cell++) {
    const [start, end] = [cellStart(cell, values.length, keys), cellStart(cell + 1, values.length, keys)];
    weights.fill(isDivided ? values[cell] / (end - start) : values[cell], start, end);
  }
  return weights;
}

function sumOf(weights) {
  return weights.reduce((sum, weight) => sum + weight, 0);
}

// Whether a weight is known: where only the largest are held, those of 0 are not.
export function isHeld({ weights, exact, mass }, position) {
  return exact || weights[position] > 0 || mass >= 0.9995;
}

// The positions of the largest weights from `start` on, the largest first.
export function largestOf(weights, most, start = 0) {
  const found = [];
  for (let at = start; at < weights.length; at++) {
    if (!(weights[at] > 0) || (found.length === most && weights[at] <= weights[found[most - 1]])) continue;
    let place = found.length;
    while (place > 0 && weights[found[place - 1]] < weights[at]) place--;
    found.splice(place, 0, at);
    if (found.length > most) found.pop();
  }
  return found;
}

// The largest weight from `start` on, and the smallest above 0, as colour scales ask for them.
export function rangeOf(weights, start = 0) {
  let [high, smallest] = [0, Infinity];
  for (let at = start; at < weights.length; at++) {
    const weight = weights[at];
    if (weight > high) high = weight;
    if (weight > 0 && weight < smallest) smallest = weight;
  }
  return { high, smallest: high > 0 ? smallest : 0 };
}

// The mean position, each weighed, of what is known.
export function centreOf(weights) {
  let [sum, moment] = [0, 0];
  for (let at = 0; at < weights.length; at++) {
    sum += weights[at];
    moment += weights[at] * at;
  }
  return sum > 0 ? moment / sum : null;
}

// The largest weight of each of at most `most` equal stretches, so that no peak is lost on a narrow axis.
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
