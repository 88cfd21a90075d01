// Arithmetic on weights: rows of attention from queries and keys, means, sums, and which weights are the largest.

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

// The mean of arrays of one length, element by element; a single one is returned as it is.
export function meanOf(arrays) {
  if (arrays.length === 1) return arrays[0];
  const mean = new Float32Array(arrays[0].length);
  for (const array of arrays) for (let i = 0; i < mean.length; i++) mean[i] += array[i];
  for (let i = 0; i < mean.length; i++) mean[i] /= arrays.length;
  return mean;
}

// The mean of the rows of a matrix.
export function columnMeans(matrix, rows, columns) {
  const sums = new Float64Array(columns);
  for (let i = 0, at = 0; i < rows; i++) for (let j = 0; j < columns; j++, at++) sums[j] += matrix[at];
  return Float32Array.from(sums, (sum) => sum / rows);
}

export function sumOf(weights) {
  return weights.reduce((sum, weight) => sum + weight, 0);
}

// The largest weight from `start` on, and the smallest above 0 (infinite where there is none), as color scales need them.
export function rangeOf(weights, start = 0) {
  let [high, smallest] = [0, Infinity];
  for (let at = start; at < weights.length; at++) {
    const weight = weights[at];
    if (weight > high) high = weight;
    if (weight > 0 && weight < smallest) smallest = weight;
  }
  return { high, smallest };
}

// The indices of the largest weights from `start` on, the largest first; those that are not above 0 are left out.
export function largestOf(weights, most, start = 0) {
  const best = [];
  for (let at = start; at < weights.length; at++) {
    if (!(weights[at] > 0) || (best.length === most && weights[at] <= weights[best[most - 1]])) continue;
    let rank = best.length;
    while (rank > 0 && weights[best[rank - 1]] < weights[at]) rank--;
    best.splice(rank, 0, at);
    if (best.length > most) best.pop();
  }
  return best;
}

// The mean of the indices, each counted by its weight; null where all weights are 0.
export function centerOf(weights) {
  let [sum, moment] = [0, 0];
  for (let at = 0; at < weights.length; at++) {
    sum += weights[at];
    moment += weights[at] * at;
  }
  return sum > 0 ? moment / sum : null;
}
