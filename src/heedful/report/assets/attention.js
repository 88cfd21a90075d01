// Rows of attention from queries and keys. No matrix is ever held: a row is computed when it is asked for.
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
