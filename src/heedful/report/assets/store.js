// The attention of one section as views ask for it: maps, rows, columns, windows and pairs of a layer and some heads.
// Everything is a promise: what is held compressed is opened, and what a live page computes comes from its server.
import { loadArray } from "./arrays.js";
import { softmaxRow } from "./attention.js";
import { liveLayer } from "./live.js";

const MOST_PAIRS = 4_194_304; // of one head that are held at once
const SLICE = 12; // milliseconds of computing before the page may draw
const KEPT = 4; // matrices of heads that were computed and are kept

// { layers, sides } of a section; a side knows how many positions it has once a layer says so.
export function openAttention(section) {
  const sides = section.sides.map((side, index) => ({ ...side, index, count: 0 }));
  for (const layer of section.layers) {
    sides[layer.rows].count = layer.queries;
    sides[layer.columns].count = layer.keys;
  }
  const layers = section.layers.map((layer, index) => {
    const opened = openLayer(layer, index, sides);
    return index < (section.live?.layers ?? 0) && opened.holds !== "pairs" ? liveLayer(opened, section.live.section) : opened;
  });
  return { sides, layers };
}

function openLayer(layer, index, sides) {
  const { heads, queries, keys, pairs } = layer;
  const [, mapRows, mapColumns] = layer.map.shape;
  const kept = new Map();
  const isStored = pairs !== null && pairs.kind !== "links" && queries * keys <= MOST_PAIRS;

  // The map of the mean of some heads: { rows, columns, values }.
  async function map(chosen) {
    const all = await loadArray(layer.map);
    const size = mapRows * mapColumns;
    return { rows: mapRows, columns: mapColumns, values: meanOfParts(chosen.map((head) => all.subarray(head * size, (head + 1) * size))) };
  }

  // All weights of the mean of some heads, row by row, where the file holds every pair; else null.
  async function matrix(chosen) {
    if (!isStored) return null;
    const key = chosen.join();
    if (!kept.has(key)) {
      if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
      kept.set(key, Promise.all(chosen.map(ofHead)).then(meanOfParts));
    }
    return kept.get(key);
  }

  async function ofHead(head) {
    if (pairs.kind === "cells") {
      const all = await loadArray(pairs.weights);
      return all.subarray(head * queries * keys, (head + 1) * queries * keys);
    }
    const weights = new Float32Array(queries * keys);
    let since = performance.now();
    for (let i = 0; i < queries; i++) {
      weights.set(await rowOfHead(head, i), i * keys);
      if (performance.now() - since > SLICE) {
        await new Promise((done) => setTimeout(done));
        since = performance.now();
      }
    }
    return weights;
  }

  async function rowOfHead(head, i) {
    if (pairs.kind === "cells") {
      const all = await loadArray(pairs.weights);
      return all.subarray((head * queries + i) * keys, (head * queries + i + 1) * keys);
    }
    const row = new Float32Array(keys);
    if (pairs.kind === "vectors") {
      const [query, key] = [await loadArray(pairs.query), await loadArray(pairs.key)];
      const width = pairs.query.shape[2];
      const seen = pairs.ahead === null ? keys : Math.max(0, Math.min(keys, i + pairs.ahead + 1));
      const at = (head * queries + i) * width;
      if (seen > 0) row.set(softmaxRow(query.subarray(at, at + width), key, head * keys * width, seen, pairs.scale));
      return row;
    }
    const [indices, weights] = [await loadArray(pairs.indices), await loadArray(pairs.weights)];
    const links = pairs.indices.shape[2];
    for (let at = (head * queries + i) * links, end = at + links; at < end; at++) if (weights[at] > 0) row[indices[at]] = weights[at];
    return row;
  }

  return {
    ...layer,
    index,
    side: { rows: sides[layer.rows], columns: sides[layer.columns] },
    holds: pairs === null ? "map" : isStored ? "pairs" : pairs.kind === "vectors" ? "rows" : "links",
    map,
    matrix,

    // What one query gives to every key, and how much of it is known: { weights, mass, exact }; null where nothing is.
    async row(chosen, i) {
      if (pairs === null) return null;
      const weights = meanOfParts(await Promise.all(chosen.map((head) => rowOfHead(head, i))));
      const exact = pairs.kind !== "links";
      return { weights, exact, mass: weights.reduce((sum, weight) => sum + weight, 0) };
    },

    // What one key gets from every query: { weights, exact }; null where that is not known.
    async column(chosen, j) {
      const all = await matrix(chosen);
      if (all !== null) return { weights: Float32Array.from({ length: queries }, (_, i) => all[i * keys + j]), exact: true };
      if (pairs === null || pairs.kind === "vectors") return null;
      const [indices, weights] = [await loadArray(pairs.indices), await loadArray(pairs.weights)];
      const links = pairs.indices.shape[2];
      const column = new Float32Array(queries);
      for (const head of chosen) {
        for (let i = 0, at = head * queries * links; i < queries; i++) {
          for (let l = 0; l < links; l++, at++) if (indices[at] === j) column[i] += weights[at] / chosen.length;
        }
      }
      return { weights: column, exact: false };
    },

    // One weight; null where the file does not hold it.
    async pair(chosen, i, j) {
      const row = await this.row(chosen, i);
      return row === null || (!row.exact && row.weights[j] === 0) ? null : row.weights[j];
    },

    // A part of the matrix, pooled to at most so many cells: the mean over the queries of a cell of what they give to its
    // keys together. { top, bottom, left, right, rows, columns, values, exact }: the part that was found, which may be
    // larger than what was asked where only a map is held; `exact` says whether each cell could be drawn finer.
    async window(chosen, { top, bottom, left, right }, rows, columns) {
      const all = await matrix(chosen);
      if (all !== null) return poolPairs(all, keys, { top, bottom, left, right }, rows, columns);
      return poolMap(await map(chosen), { queries, keys }, { top, bottom, left, right }, rows, columns);
    },

    // The links of some rows within some columns, the largest first: [{ row, column, weight }]; [] where there are none.
    async links(chosen, { top, bottom, left, right }, most) {
      if (pairs === null || pairs.kind !== "links") return [];
      const [indices, weights] = [await loadArray(pairs.indices), await loadArray(pairs.weights)];
      const links = pairs.indices.shape[2];
      const found = [];
      for (const head of chosen) {
        for (let row = top; row < bottom; row++) {
          for (let at = (head * queries + row) * links, end = at + links; at < end; at++) {
            if (weights[at] > 0 && indices[at] >= left && indices[at] < right) found.push({ row, column: indices[at], weight: weights[at] });
          }
        }
      }
      return found.sort((a, b) => b.weight - a.weight).slice(0, most);
    },

    // A curve of one head, "entropy" over the queries or "received" over the keys: means of equal stretches; null without.
    async curve(name, head) {
      if (!(name in layer.curves)) return null;
      const points = layer.curves[name].shape[1];
      return (await loadArray(layer.curves[name])).subarray(head * points, (head + 1) * points);
    },
  };
}

// Where a cell of `count` cells over `length` positions begins.
export function cellStart(cell, count, length) {
  return Math.ceil((cell * length) / count);
}

export function cellOf(position, count, length) {
  return Math.floor((position * count) / length);
}

function meanOfParts(parts) {
  if (parts.length === 1) return parts[0];
  const mean = new Float32Array(parts[0].length);
  for (const part of parts) for (let i = 0; i < mean.length; i++) mean[i] += part[i];
  for (let i = 0; i < mean.length; i++) mean[i] /= parts.length;
  return mean;
}

function poolPairs(all, keys, { top, bottom, left, right }, rows, columns) {
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
function poolMap(grid, { queries, keys }, { top, bottom, left, right }, rows, columns) {
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
