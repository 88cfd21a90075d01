// A layer of which the page's own server computes what is asked for: the same questions as in store.js, the answers exact.

const MOST_CELLS = 1024; // of a window along each axis
const KEPT = 24; // answers, of all layers together
const PATIENCE = 1000; // milliseconds before something is asked again that the server prepares
const SILENT = "The server of this page does not answer. Start it again to see more detail.";

const kept = new Map(); // promises of answers by their address, the one that was used last at the end

// `held` is the layer as the file has it: its map is shown where an answer is not awaited any longer.
export function liveLayer(held, section) {
  const { queries, keys } = held;
  const latest = new Map(); // of some heads, what cancels the window that was asked for last

  // A window as store.js has it, and `finer`: null, or a function that promises a finer one.
  async function windowOf(chosen, box, rows, columns, effort) {
    const asked = { box, rows: Math.min(rows, MOST_CELLS), columns: Math.min(columns, MOST_CELLS) };
    const address = addressOf(chosen, asked, effort, 0);
    const name = chosen.join();
    if (!kept.has(address)) {
      latest.get(name)?.abort();
      latest.set(name, new AbortController());
    }
    const found = await ask(address, latest.get(name)?.signal);
    if (found === null) return { ...(await held.window(chosen, box, rows, columns)), finer: null };
    return { ...found, exact: found.finer === "", finer: found.finer === "" ? null : () => finer(found.finer) };

    async function finer(when) {
      if (when === "later") await new Promise((done) => setTimeout(done, PATIENCE));
      return windowOf(chosen, box, rows, columns, 1);
    }
  }

  function addressOf(chosen, { box, rows, columns }, effort, pairs) {
    const { top, bottom, left, right } = box;
    const asked = { section, layer: held.index, heads: chosen.join(), top, bottom, left, right, rows, columns, effort, pairs };
    return `window?${new URLSearchParams(asked)}`;
  }

  // Every pair of a part; null where it takes too much for now.
  async function pairsOf(chosen, box) {
    const [rows, columns] = [box.bottom - box.top, box.right - box.left];
    const found = await ask(addressOf(chosen, { box, rows, columns }, 1, 1));
    return found.rows === 0 ? null : found.values;
  }

  return {
    ...held,
    holds: "live",
    matrix: async () => null,
    links: async () => [],
    window: (chosen, box, rows, columns) => windowOf(chosen, box, rows, columns, 0),

    async row(chosen, i) {
      const weights = await pairsOf(chosen, { top: i, bottom: i + 1, left: 0, right: keys });
      return weights === null ? null : { weights, exact: true, mass: weights.reduce((sum, weight) => sum + weight, 0) };
    },

    async column(chosen, j) {
      const weights = await pairsOf(chosen, { top: 0, bottom: queries, left: j, right: j + 1 });
      return weights === null ? null : { weights, exact: true };
    },

    async pair(chosen, i, j) {
      const weights = await pairsOf(chosen, { top: i, bottom: i + 1, left: j, right: j + 1 });
      return weights === null ? null : weights[0];
    },
  };
}

// Promises what the server answers; null once `signal` cancels it. What it still prepares is asked for anew each time.
function ask(address, signal) {
  if (kept.has(address)) {
    const answer = kept.get(address);
    kept.delete(address);
    kept.set(address, answer);
    return answer;
  }
  let isThere = false;
  const forget = () => kept.get(address) === answer && kept.delete(address);
  const answer = reached(address, signal).then(read).then(
    (found) => {
      isThere = true;
      if (found.finer === "later" || found.rows === 0) forget();
      return found;
    },
    (error) => {
      forget();
      if (signal?.aborted) return null;
      throw error;
    },
  );
  signal?.addEventListener("abort", () => !isThere && forget());
  kept.set(address, answer);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return answer;
}

async function reached(address, signal) {
  try {
    return await fetch(address, { signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(SILENT);
  }
}

async function read(response) {
  if (!response.ok) throw new Error(`The server of this page refused: ${await response.text()}.`);
  const { rows, columns, finer } = JSON.parse(response.headers.get("Heedful-Window"));
  const [rowEdges, columnEdges] = [Int32Array.from(rows), Int32Array.from(columns)];
  return {
    top: rowEdges[0], bottom: rowEdges.at(-1), left: columnEdges[0], right: columnEdges.at(-1),
    rows: Math.max(0, rows.length - 1), columns: Math.max(0, columns.length - 1), rowEdges, columnEdges,
    finer, values: new Float32Array(await response.arrayBuffer()),
  };
}
