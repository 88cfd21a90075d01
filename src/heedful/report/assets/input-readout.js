// The sentence about what is shown over a layer's keys: its largest weights, and what has to be known to read them.
import { userText } from "./dom.js";
import { percent, span } from "./format.js";
import { isHeld } from "./key-weights.js";
import { positionNodes, seconds, secondsAt } from "./positions.js";
import { centerOf, largestOf } from "./weights.js";

const MOST_KEYS = 3; // the largest
const MOST_EXTRA = 5; // tokens before the patches of a picture

// `heads` are words, `subject` says what the weights are of, `start` is the first position that counts, `probe` a key or null.
export function weightsSentence(heads, { shares, query }, side, subject, { start, probe, isPinned }) {
  const { weights, exact, mass, block } = shares;
  const parts = [userText(heads), ", ", ...subject, ": "];
  const best = block === null ? largestOf(weights, MOST_KEYS, start).map((position) => [position, position + 1]) : largestCells(shares, start);
  if (best.length === 0) parts.push(weights.some(Number.isNaN) ? "NaN" : "nothing");
  best.forEach(([from, to], i) => {
    const until = to - from > 1 ? [" to ", ...positionNodes(side, to - 1)] : [];
    parts.push(i > 0 ? ", " : "", `${percent(weights[from])} on ${until.length > 0 ? "each of " : ""}`, ...positionNodes(side, from), ...until);
  });
  for (let i = 0; i < Math.min(start, MOST_EXTRA); i++) parts.push("; ", ...positionNodes(side, i), ` ${weightText(shares, i)}`);
  const center = side.kind === "sound" && query !== null ? centerOf(weights) : null;
  if (center !== null) parts.push(`; mean position ${seconds(secondsAt(side, center))}`);
  if (!exact && mass < 0.9995) parts.push(`; mass shown: ${percent(mass)}`);
  if (block !== null) parts.push(`; known only as means of queries ${span(...block)} and of keys together`);
  else if (!exact && mass >= 0.9995) parts.push("; known only as means over ranges of keys");
  if (isPinned) parts.push(". Pinned");
  if (probe !== null) parts.push(isPinned ? "; on " : ". On ", ...positionNodes(side, probe), `: ${weightText(shares, probe)}`);
  parts.push(".");
  return parts;
}

// The cells of keys with the largest means, each as [first, one more than the last].
function largestCells({ weights, edges }, start) {
  const cells = Array.from({ length: edges.length - 1 }, (_, cell) => [edges[cell], edges[cell + 1]]);
  return cells.filter(([from]) => from >= start && weights[from] > 0).sort(([a], [b]) => weights[b] - weights[a]).slice(0, MOST_KEYS);
}

// What the weights of a query, or, for null, those of all queries, are.
export function subjectOf({ queries, side }, query) {
  if (query === null) return ["attention received (mean of all queries)"];
  return queries === 1 ? ["attention of the only query"] : ["attention of ", ...positionNodes(side.rows, query)];
}

function weightText(shares, position) {
  return isHeld(shares, position) ? percent(shares.weights[position]) : "not among the stored largest weights";
}
