// The sentence about what is shown of a text, and the tokens and words named in it.
import { element } from "./dom.js";
import { percent, whole } from "./format.js";
import { largestOf } from "./weights.js";

const MOST_LETTERS = 24; // of a token in a sentence
const MOST_KEYS = 5; // that the sentence names

// A unit as it stands in a list, cut.
export function wordNodes(unit, most = 60) {
  const nodes = [];
  let left = most;
  for (const { text, isSign } of unit.parts) {
    if (left <= 0) break;
    const letters = [...text];
    const shown = letters.length > left ? `${letters.slice(0, left - 1).join("")}\u2026` : text;
    left -= letters.length;
    nodes.push(isSign ? element("span", { class: "text-sign", text: shown }) : shown);
  }
  return nodes;
}

// "'fox' (3)", as nodes.
export function unitName(unit, most = MOST_LETTERS) {
  const name = element("bdi", { dir: "auto" }, ...wordNodes(unit, most));
  return ["\u2018", name, `\u2019 (${unit.end - unit.start > 1 ? `${unit.start} to ${unit.end - 1}` : unit.start})`];
}

// What a reading is of, as nodes; `names` are the units of the side on which its unit stands.
export function headline(reading, names) {
  if (reading.direction === "received") return ["Attention received by each token (mean of all queries)"];
  return [...unitName(names[reading.unit]), reading.direction === "in" ? " is attended by" : " attends to"];
}

// The sentence about a reading: its five largest, and what has to be known to read them.
export function sentence(reading, names, units) {
  const words = [...headline(reading, names), ": "];
  const best = largestOf(reading.weights, MOST_KEYS);
  if (best.length === 0) words.push(reading.weights.some(Number.isNaN) ? "NaN" : "nothing");
  best.forEach((u, i) => words.push(i ? ", " : "", ...unitName(units[u]), ` ${percent(reading.weights[u])}`));
  words.push(". ");
  return [...words, ...remarks(reading)];
}

function remarks({ direction, exact, mass, cells, isRenormalized }) {
  const words = [];
  if (!exact && direction === "in") words.push("Only the largest weights of each query are stored. ");
  else if (!exact) words.push(`Mass shown: ${percent(mass)}. `);
  if (cells !== null) words.push(`Means over cells of ${whole(cells[0])} queries and ${whole(cells[1])} keys. `);
  if (isRenormalized) words.push("Renormalized to 1 without hidden tokens. ");
  return words;
}
