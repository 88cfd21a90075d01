// Rows of attention from queries and keys. No matrix is ever held: a row is computed when it is asked for.
import { readArray } from "./arrays.js";

// Opens the heads of one layer; its arrays are decoded when the first row is asked for.
export function openHeads(layer) {
  const [heads, queries, width] = layer.query.shape;
  const keys = layer.key.shape[1];
  return {
    name: layer.name,
    heads,
    queries,
    keys,
    // The row of one query in every head: `heads` arrays of `keys` weights that sum to 1.
    row(index) {
      const query = readArray(layer.query);
      const key = readArray(layer.key);
      return Array.from({ length: heads }, (_, head) => {
        const start = (head * queries + index) * width;
        return softmaxRow(query.subarray(start, start + width), key, head * keys * width, keys, layer.scale);
      });
    },
    // What each key receives from all queries, in every head; null where the report does not say.
    received() {
      if (layer.received === null) return null;
      const received = readArray(layer.received);
      return Array.from({ length: heads }, (_, head) => received.subarray(head * keys, (head + 1) * keys));
    },
  };
}

// softmax(scale * query . key_j) over `keys` keys that lie one after another from `offset` on.
export function softmaxRow(query, key, offset, keys, scale) {
  const width = query.length;
  const weights = new Float32Array(keys);
  let largest = -Infinity;
  for (let j = 0, at = offset; j < keys; j++, at += width) {
    let score = 0;
    for (let d = 0; d < width; d++) score += query[d] * key[at + d];
    weights[j] = score * scale;
    if (weights[j] > largest) largest = weights[j];
  }
  let total = 0;
  for (let j = 0; j < keys; j++) total += weights[j] = Math.exp(weights[j] - largest);
  for (let j = 0; j < keys; j++) weights[j] /= total;
  return weights;
}

export function meanOf(arrays) {
  const mean = new Float32Array(arrays[0].length);
  for (const array of arrays) for (let j = 0; j < mean.length; j++) mean[j] += array[j] / arrays.length;
  return mean;
}

// Where the largest value stands, from position `start` on.
export function largestAt(values, start = 0) {
  let best = start;
  for (let j = start + 1; j < values.length; j++) if (values[j] > values[best]) best = j;
  return best;
}
