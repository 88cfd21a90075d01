// The rows of small pictures in a picture section: one a layer, one for the pooling, one for the rollout.
import { largestAt, meanOf, openHeads } from "./attention.js";
import { readArray } from "./arrays.js";
import { number, percent } from "./dom.js";

// What numbers are: a share of one, or the sum that a patch receives, which is 1 where all receive the same.
const SHARE = { format: percent, after: "" };
const RECEIVED = { format: number, after: " (1 would be even)" };

// A row has a name, its cells' names, whether it `follows` the pointed patch, and maps(patch or null), which returns
// { subject, unit, values: one array of a number a token for each cell }.
export function openRows(section) {
  const rows = section.layers.map((layer) => layerRow(layer, section));
  if (section.pooling !== null) rows.push(poolingRow(section.pooling));
  if (section.rollout !== null) rows.push(rolloutRow(section.rollout));
  return rows;
}

function layerRow(layer, { grid, classTokens }) {
  const heads = openHeads(layer);
  const mapsOfPatch = ({ row, column }) => ({
    subject: `attention of patch (${row}, ${column})`,
    unit: SHARE,
    values: withMean(heads.row(classTokens + row * grid[1] + column)),
  });
  const mapsOfDecision = () =>
    classTokens > 0
      ? { subject: "attention of the class token", unit: SHARE, values: withMean(heads.row(0)) }
      : { subject: "attention received from all patches", unit: RECEIVED, values: withMean(heads.received()) };
  const decision = once(mapsOfDecision);
  let last = { key: null, maps: null };
  const maps = (patch) => {
    if (patch === null) return decision();
    const key = `${patch.row},${patch.column}`;
    if (last.key !== key) last = { key, maps: mapsOfPatch(patch) };
    return last.maps;
  };
  return { name: layer.name, cells: cellNames(heads.heads), heads: heads.heads, follows: true, maps };
}

function poolingRow(pooling) {
  const heads = openHeads(pooling);
  const maps = once(() => ({ subject: "attention of the decision", unit: SHARE, values: withMean(heads.row(0)) }));
  return { name: pooling.name, cells: cellNames(heads.heads), heads: heads.heads, follows: false, maps };
}

function rolloutRow(reference) {
  const maps = once(() => ({ subject: "the decision followed through all layers", unit: SHARE, values: [readArray(reference)] }));
  return { name: "rollout", cells: ["all heads"], heads: 0, follows: false, maps };
}

// The mean comes first; a single head is its own mean.
function withMean(arrays) {
  return arrays.length > 1 ? [meanOf(arrays), ...arrays] : arrays;
}

function cellNames(heads) {
  const names = Array.from({ length: heads }, (_, head) => `head ${head}`);
  return heads > 1 ? ["mean", ...names] : names;
}

function once(compute) {
  let result = null;
  return () => (result ??= compute());
}

// The largest number on the patches of a map, and the patch where it stands.
export function peakOf(values, { grid, classTokens }) {
  const at = largestAt(values, classTokens);
  const patch = at - classTokens;
  return { value: values[at], row: Math.floor(patch / grid[1]), column: patch % grid[1] };
}
