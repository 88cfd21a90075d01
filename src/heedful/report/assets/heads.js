// Heads of a layer: which ones words name, how they are called, and of what kind they were found to be.

// The heads that words such as "mean", "3" or "1,4" name; all of them where they name none.
export function headsOf(layer, words) {
  const named = words.split(",").filter((word) => /^\d+$/.test(word)).map(Number).filter((head) => head < layer.heads);
  return named.length === 0 ? Array.from({ length: layer.heads }, (_, head) => head) : named;
}

// "layer 3, head 5" or "layer 3, mean of 12 heads"; the name of the layer alone where it has one head.
export function headsText(layer, words) {
  const heads = headsOf(layer, words);
  if (layer.heads === 1) return layer.label;
  if (heads.length === 1) return `${layer.label}, head ${heads[0]}`;
  return `${layer.label}, mean of ${heads.length === layer.heads ? `${layer.heads} heads` : `heads ${heads.join(", ")}`}`;
}

// "layer 3, self"; the label alone where it says the kind itself.
export function nameWithKind({ label, kind }) {
  return label.split(" ").includes(kind) ? label : `${label}, ${kind}`;
}

// The kind that a head was found to be; null where it is of none.
export function kindOf(layer, head) {
  const kind = layer.kinds[head];
  return kind && kind !== "other" ? kind : null;
}
