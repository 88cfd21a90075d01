// The attention of one section as views ask for it: maps, rows, columns, windows and pairs of a layer and some heads.
// Everything is a promise: what is held compressed is opened, and what a live page computes comes from its server.
import { loadArray } from "./arrays.js";
import { edgesBetween, evenEdges, poolMap, poolPairs } from "./cells.js";
import { liveLayer } from "./live.js";
import { slices } from "./timing.js";
import { meanOf, softmaxRow, sumOf } from "./weights.js";

const MOST_PAIRS = 4_194_304; // of one head that are held at once
const SLICE = 12; // milliseconds of computing before the page may draw
const KEPT = 4; // matrices of heads that were computed and are kept

// { layers, axes } of a section; an axis knows how many positions it has once a layer says so.
export function openAttention(section) {
  const axes = section.axes.map((axis, index) => ({ ...axis, index, count: 0 }));
  for (const layer of section.layers) {
    axes[layer.rows].count = layer.queries;
    axes[layer.columns].count = layer.keys;
  }
  const layers = section.layers.map((layer, index) => {
    const opened = openLayer(layer, index, axes);
    return index < (section.live?.layers ?? 0) && opened.holds !== "pairs" ? liveLayer(opened, section.live.section) : opened;
  });
  return { axes, layers };
}

// The parts of an array that holds one of `size` numbers after another, by their index.
function partOf(array, size) {
  return (index) => array.subarray(index * size, (index + 1) * size);
}

function openLayer(layer, index, axes) {
  const { queries, keys, pairs, wholeRows } = layer;
  const [, mapRows, mapColumns] = layer.map.shape;
  const side = { rows: axes[layer.rows], columns: axes[layer.columns] };
  const cuts = { rows: side.rows.cuts, columns: side.columns.cuts };
  const rowEdges = layer.edges[0] === null ? evenEdges(mapRows, queries) : Int32Array.from(layer.edges[0]);
  const columnEdges = layer.edges[1] === null ? evenEdges(mapColumns, keys) : Int32Array.from(layer.edges[1]);
  const isWhole = (i) => wholeRows !== null && wholeRows.queries.includes(i);
  const kept = new Map();
  const isStored = pairs !== null && pairs.kind !== "links" && queries * keys <= MOST_PAIRS;

  // The map of the mean of some heads: { rows, columns, values, rowEdges, columnEdges }, as cells.js has edges.
  async function map(chosen) {
    return { rows: mapRows, columns: mapColumns, rowEdges, columnEdges, values: meanOf(chosen.map(partOf(await loadArray(layer.map), mapRows * mapColumns))) };
  }

  // All weights of the mean of some heads, row by row, where the file holds every pair; else null.
  async function matrix(chosen) {
    if (!isStored) return null;
    const key = chosen.join();
    if (!kept.has(key)) {
      if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
      kept.set(key, Promise.all(chosen.map(ofHead)).then(meanOf));
    }
    return kept.get(key);
  }

  async function ofHead(head) {
    if (pairs.kind === "cells") return partOf(await loadArray(pairs.weights), queries * keys)(head);
    const weights = new Float32Array(queries * keys);
    const pause = slices(SLICE);
    for (let i = 0; i < queries; i++) {
      weights.set(await rowOfHead(head, i), i * keys);
      await pause();
    }
    return weights;
  }

  async function rowOfHead(head, i) {
    if (pairs?.kind === "cells") return partOf(await loadArray(pairs.weights), keys)(head * queries + i);
    if (isWhole(i)) return partOf(await loadArray(wholeRows.weights), keys)(head * wholeRows.queries.length + wholeRows.queries.indexOf(i));
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
    const start = (head * queries + i) * links;
    if (Number.isNaN(weights[start])) return row.fill(NaN);
    for (let at = start; at < start + links; at++) if (weights[at] > 0) row[indices[at]] = weights[at];
    return row;
  }

  return {
    ...layer,
    index,
    side,
    cuts,
    holds: pairs === null ? "map" : isStored ? "pairs" : pairs.kind === "vectors" ? "rows" : "links",
    map,
    matrix,

    // What one query gives to every key, and how much of it is known: { weights, mass, exact }; null where nothing is.
    async row(chosen, i) {
      if (pairs === null && !isWhole(i)) return null;
      const weights = meanOf(await Promise.all(chosen.map((head) => rowOfHead(head, i))));
      const exact = isWhole(i) || pairs.kind !== "links";
      return { weights, exact, mass: sumOf(weights) };
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

    // A part of the matrix, pooled to about so many cells: the mean over the queries of a cell of what they give to its keys
    // together. { top, bottom, left, right, rows, columns, values, rowEdges, columnEdges, exact }: the part that was found,
    // which may be larger than what was asked where only a map is held; `exact` says whether each cell could be drawn finer.
    async window(chosen, box, rows, columns) {
      const { top, bottom, left, right } = box;
      const all = await matrix(chosen);
      if (all === null) return { ...poolMap(await map(chosen), box, rows, columns, cuts), exact: mapRows === queries && mapColumns === keys };
      const edges = { rowEdges: edgesBetween(top, bottom, rows, cuts.rows), columnEdges: edgesBetween(left, right, columns, cuts.columns) };
      return { ...poolPairs(all, keys, edges), exact: true };
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

    // A curve of the mean of some heads, "entropy" over the queries or "received" over the keys: means of equal cells; null
    // where the file holds none.
    async curve(chosen, name) {
      return name in layer.curves ? meanOf(chosen.map(partOf(await loadArray(layer.curves[name]), layer.curves[name].shape[1]))) : null;
    },
  };
}
