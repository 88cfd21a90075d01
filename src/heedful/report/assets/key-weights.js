// What is shown of a layer over its keys, as shares of one: what one query gives, or what all queries give in the mean.
import { evenEdges, meanRowOfMap, spread } from "./cells.js";
import { columnMeans, meanOf, sumOf } from "./weights.js";

// { weights, mass, exact, block, edges }: `mass` is how much of the row is known, `block` the span of queries of which only the
// mean is known, of cells of keys that begin at `edges`, or null. Without a query it is what the keys receive.
export function readShares(layer, heads, query) {
  return query === null ? received(layer, heads) : given(layer, heads, query);
}

async function given(layer, heads, query) {
  const rows = await Promise.all(heads.map((head) => rowOnce(layer, head, query)));
  // A few largest weights would be dots on a picture: there the mean row of the map says more.
  const isKnown = rows[0] !== null && (rows[0].exact || layer.side.columns.kind !== "picture");
  if (isKnown) {
    const weights = meanOf(rows.map((row) => row.weights));
    return { weights, mass: sumOf(weights), exact: rows.every((row) => row.exact), block: null };
  }
  const { keys } = layer;
  const found = await layer.window(heads, { top: query, bottom: query + 1, left: 0, right: keys }, 1, keys);
  const weights = spread(found.values, found.columnEdges, { isDivided: true });
  return { weights, mass: sumOf(weights), exact: found.exact, block: found.exact ? null : [found.top, found.bottom], edges: found.columnEdges };
}

// The rows of one query are asked for again and again, alone and for means.
const ROWS = new WeakMap();

function rowOnce(layer, head, query) {
  if (ROWS.get(layer)?.query !== query) ROWS.set(layer, { query, rows: new Map() });
  const { rows } = ROWS.get(layer);
  if (!rows.has(head)) rows.set(head, layer.row([head], query));
  return rows.get(head);
}

async function received(layer, heads) {
  const { queries, keys } = layer;
  const curve = await layer.curve(heads, "received");
  if (curve !== null && curve.length === keys) return shares(curve.map((sum) => sum / queries), true);
  const all = await layer.matrix(heads);
  if (all !== null) return shares(columnMeans(all, queries, keys), true);
  if (curve !== null) return shares(spread(curve, evenEdges(curve.length, keys), { isDivided: false }).map((sum) => sum / queries), false);
  const map = await layer.map(heads);
  return shares(spread(meanRowOfMap(map), map.columnEdges, { isDivided: true }), map.columns === keys);
}

function shares(weights, exact) {
  return { weights, mass: 1, exact, block: null };
}

// Whether a weight is known: where only the largest are held, those of 0 are not.
export function isHeld({ weights, exact, mass }, position) {
  return exact || weights[position] > 0 || mass >= 0.9995;
}
