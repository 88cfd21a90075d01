// The sentence about a cell of a map, or about a pinned pair.
import { element } from "./dom.js";
import { precise, precisePercent, whole } from "./format.js";
import { spanNodes } from "./positions.js";

// `say(...nodes)` shows the sentence.
export function mapReadout(say) {
  let last = null;

  // Says what is at a position { i, j }, pointed at or pinned, or null, unless it was said already.
  function read(source, at, isPinned) {
    const cell = at && source.cellAt(at);
    const key = at && [at.i, at.j, cell.value, cell.bottom - cell.top, source.curves.entropy !== null].join();
    if (last !== null && key === last.key && source === last.source) return;
    const own = (last = { key, source });
    if (at === null) return say("Point at the map to read its numbers.");
    const words = sentence(source, cell);
    say(...words);
    if (isPinned && (cell.value === null || !isPair(cell))) addExact(source, at, words, () => own === last);
  }

  // The weight of a pinned pair that its cell does not show by itself, where it is known.
  async function addExact({ layer, chosen }, { i, j }, words, isCurrent) {
    const weight = await layer.pair(chosen, i, j).catch(() => null);
    if (!isCurrent() || weight === null || weight === undefined) return;
    say(...words, `; the pinned pair (${whole(i)}, ${whole(j)}): `, element("strong", { text: precisePercent(weight) }));
  }

  return read;
}

function isPair({ top, bottom, left, right }) {
  return bottom - top <= 1 && right - left <= 1;
}

function sentence({ layer, curves }, cell) {
  const { rows, columns } = layer.side;
  const words = ["query ", ...spanNodes(rows, cell.top, cell.bottom), ", key ", ...spanNodes(columns, cell.left, cell.right), ": "];
  if (cell.value !== null) words.push(element("strong", { text: precisePercent(cell.value) }), isPair(cell) ? "" : " to these keys together, mean of these queries");
  else if (cell.isLink) words.push("not among the stored largest weights of its row");
  if (curves.entropy !== null) words.push(`; entropy of the ${isPair(cell) ? "row" : "rows"} ${precise(meanAt(curves.entropy, cell.top, cell.bottom, layer.queries))} nat`);
  return words;
}

// The mean of a curve over some of the positions that its points cover evenly.
function meanAt(points, start, end, length) {
  const first = Math.min(points.length - 1, Math.floor((start * points.length) / length));
  const last = Math.min(points.length, Math.max(first + 1, Math.ceil((end * points.length) / length)));
  let sum = 0;
  for (let at = first; at < last; at++) sum += points[at];
  return sum / (last - first);
}
