// What a text view shows of a layer: what a unit gives, what a unit gets, and what keys get from all queries together.
import { loadArray } from "./arrays.js";
import { cellOf, spread } from "./cells.js";
import { readShares } from "./key-weights.js";
import { hiddenKeys, means, sums, unitAt } from "./text-units.js";
import { meanOf, sumOf } from "./weights.js";

const MOST_KEPT = 128; // readings

// The readings of some heads of a layer. `queries` and `keys` are units; `hides` says whether special tokens and sinks
// are left out, the rest of each row made to sum to 1. A reading is { direction, unit, weights, positions, mass, exact, cells,
// isRenormalized }: the weights of the units of the other side, and of its positions as they are; what of the row is known; whether all of it is;
// [queries, keys] of a cell where only means over cells are known; and whether it was made to sum to 1.
export function openReadings(layer, heads, { queries, keys, hides }) {
  const kept = new Map();
  let hiddenOnce = null;
  let restOnce = null;

  // { positions: a set, list: as hiddenKeys has it }; empty where nothing is hidden.
  function hidden() {
    hiddenOnce ??= hides ? receivedOf(layer, heads).then(({ weights }) => ofList(hiddenKeys(layer.side.columns, weights))) : Promise.resolve(ofList([]));
    return hiddenOnce;
  }

  function ofList(list) {
    return { list, units: new Set(list.map(({ position }) => unitAt(keys, position))) };
  }

  async function received() {
    const reading = await receivedOf(layer, heads);
    return normalized({ ...reading, positions: reading.weights, weights: sums(reading.weights, keys) });
  }

  async function given(unit) {
    const { start, end } = queries[unit];
    const rows = [];
    for (let i = start; i < end; i++) rows.push(await rowOf(layer, heads, i));
    const positions = meanOf(rows.map((row) => row.weights));
    const mass = rows.reduce((sum, row) => sum + row.mass, 0) / rows.length;
    return normalized({ positions, weights: sums(positions, keys), mass, exact: rows.every((row) => row.exact), cells: rows[0].cells });
  }

  async function gotten(unit) {
    const { start, end } = keys[unit];
    const columns = [];
    for (let j = start; j < end; j++) columns.push(await columnOf(layer, heads, j));
    const total = new Float32Array(layer.queries);
    for (const { weights } of columns) for (let i = 0; i < total.length; i++) total[i] += weights[i];
    const reading = { positions: total, weights: means(total, queries), mass: null, exact: columns.every((column) => column.exact), cells: columns[0].cells, isRenormalized: false };
    const rest = hides ? await rests() : null;
    const weights = reading.weights.map((weight, u) => (queries[u].isGone ? 0 : rest === null ? weight : rest[u] > 0 ? weight / rest[u] : 0));
    return { ...reading, isRenormalized: rest !== null, weights };
  }

  // A row without its hidden keys. Where only a part of it is known, the hidden keys are among what is known.
  async function normalized(reading) {
    const { units } = await hidden();
    if (units.size === 0) return { ...reading, isRenormalized: false };
    let left = 0;
    for (const u of units) left += reading.weights[u];
    const known = sumOf(reading.weights) - left;
    const rest = reading.exact ? known : Math.max(0, 1 - left);
    const weights = reading.weights.map((weight, u) => (units.has(u) || !(rest > 0) ? 0 : weight / rest));
    return { ...reading, weights, mass: rest > 0 ? known / rest : 0, isRenormalized: true };
  }

  // What each query unit gives to all that is not hidden; null where that would have to be guessed.
  function rests() {
    restOnce ??= hidden().then(({ units }) => restsOf(layer, heads, units, queries, keys));
    return restOnce;
  }

  return {
    hidden,
    // The reading of a unit, "out" (what it gives) or "in" (what it gets); of "received" without one.
    read(direction, unit = null) {
      const key = `${direction}${unit}`;
      if (!kept.has(key)) {
        if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
        const reading = direction === "received" ? received() : direction === "in" ? gotten(unit) : given(unit);
        kept.set(key, reading.then((found) => ({ direction, unit, ...found })));
      }
      return kept.get(key);
    },
  };
}

async function rowOf(layer, heads, i) {
  const row = await layer.row(heads, i);
  if (row !== null) return { ...row, cells: null };
  const map = await layer.map(heads);
  const cell = cellOf(i, map.rowEdges);
  const cells = map.values.subarray(cell * map.columns, (cell + 1) * map.columns);
  return { ...ofRow(spread(cells, map.columnEdges, { isDivided: true }), true), cells: sizesOf(layer, map) };
}

async function columnOf(layer, heads, j) {
  const column = await layer.column(heads, j);
  if (column !== null) return { ...column, cells: null };
  const map = await layer.map(heads);
  const cell = cellOf(j, map.columnEdges);
  const width = map.columnEdges[cell + 1] - map.columnEdges[cell];
  const cells = Float32Array.from({ length: map.rows }, (_, row) => map.values[row * map.columns + cell] / width);
  return { weights: spread(cells, map.rowEdges, { isDivided: false }), exact: true, cells: sizesOf(layer, map) };
}

// The mean over the queries of what each key gets.
async function receivedOf(layer, heads) {
  const { weights, exact } = await readShares(layer, heads, null);
  return { ...ofRow(weights, true), cells: exact ? null : sizesOf(layer, await layer.map(heads)) };
}

function ofRow(weights, exact) {
  return { weights, exact, mass: sumOf(weights), cells: null };
}

async function restsOf(layer, heads, hiddenUnits, queries, keys) {
  const isHidden = new Uint8Array(layer.keys);
  for (const u of hiddenUnits) isHidden.fill(1, keys[u].start, keys[u].end);
  const rest = new Float64Array(layer.queries);
  const matrix = await layer.matrix(heads);
  if (matrix !== null) {
    for (let i = 0, at = 0; i < layer.queries; i++) for (let j = 0; j < layer.keys; j++, at++) if (!isHidden[j]) rest[i] += matrix[at];
    return means(rest, queries);
  }
  if (layer.pairs?.kind !== "links") return null;
  const [indices, weights] = [await loadArray(layer.pairs.indices), await loadArray(layer.pairs.weights)];
  const links = layer.pairs.indices.shape[2];
  for (const head of heads) {
    for (let i = 0, at = head * layer.queries * links; i < layer.queries; i++) {
      for (let l = 0; l < links; l++, at++) if (weights[at] > 0 && isHidden[indices[at]]) rest[i] += weights[at] / heads.length;
    }
  }
  return means(rest.map((left) => Math.max(0, 1 - left)), queries);
}

// How many queries and keys a cell of a map has; null where it has one of each.
function sizesOf(layer, map) {
  if (map.rows === layer.queries && map.columns === layer.keys) return null;
  return [Math.ceil(layer.queries / map.rows), Math.ceil(layer.keys / map.columns)];
}
