// One layer on its own input: what stands for the queries, and what stands for the keys with the weights on it.
import { makeScale } from "./color.js";
import { element, picker } from "./dom.js";
import { cellBox, drawFrame, openCanvas } from "./drawing.js";
import { alignmentPicture, MOST_ALIGNED } from "./input-alignment.js";
import { barsPanel } from "./input-bars.js";
import { chipRow } from "./input-chips.js";
import { headPanel } from "./input-heads.js";
import { longList } from "./input-long-list.js";
import { aspectOf, drawShares, patchesPanel } from "./input-patches.js";
import { subjectOf, weightsSentence } from "./input-readout.js";
import { drawRibbon, trackPanel } from "./input-track.js";
import { isHeld, readShares } from "./key-weights.js";
import { plainText, positionText } from "./positions.js";
import { palette } from "./theme.js";
import { perFrame } from "./timing.js";
import { rangeOf } from "./weights.js";

const MOST_CHIPS = 300;
const MOST_BARS = 512;
const OPACITY = "0.7";
const SOUGHT = ["text", "positions"];

// Whether things that are no text, such as channels, stand on both sides and are few enough for a chart of bars.
export function isChart(layer) {
  const { rows, columns } = layer.side;
  const isNamed = rows.names != null && columns.names != null;
  return rows.kind === "positions" && columns.kind === "positions" && layer.keys <= MOST_BARS && (layer.kind === "channel" || isNamed);
}

// Whether queries and keys are chosen and shown on one and the same thing.
function isOneThing(layer) {
  if (layer.rows !== layer.columns || layer.queries !== layer.keys) return false;
  return !SOUGHT.includes(layer.side.rows.kind) || layer.keys <= (layer.side.rows.kind === "text" ? MOST_CHIPS : MOST_BARS);
}

// The view of all layers whose sides are those of `first`.
export function pairView(context, first) {
  const rows = { ...first.side.rows, count: first.queries };
  const columns = { ...first.side.columns, count: first.keys };
  const isOne = isOneThing(first);
  const layers = context.layers.filter((layer) => ["rows", "columns", "queries", "keys"].every((name) => layer[name] === first[name]));
  const start = columns.kind === "picture" ? columns.extra.length : 0;
  const local = { pointed: null, probe: null };
  const pinned = () => positionIn(context.state.query, first.queries);
  const shown = () => pinned() ?? local.pointed;
  // What a weight is of while no query is chosen: the class token's row, or, for null, what all queries give.
  const decision = first.queries === 1 ? 0 : decisionOf(rows);
  const subject = (query) => subjectOf(first, query);
  let colors = null;
  let asked = 0;
  const showSoon = perFrame(show);
  let last = null; // what is shown: { layer, heads, query, shares }

  const ofQuery = {
    current: () => local.pointed ?? pinned(),
    point(position) {
      if (position === local.pointed) return;
      local.pointed = position;
      showSoon();
    },
    pick(position) {
      const isAgain = position === pinned();
      local.pointed = isAgain ? null : position;
      context.set({ query: isAgain ? null : String(position) });
    },
    release,
  };
  const ofKey = {
    current: () => local.probe,
    point(position) {
      if (position === local.probe) return;
      local.probe = position;
      showSoon();
    },
    pick: (position) => ofKey.point(position),
    release,
  };

  const panels = isOne ? [panelFor(columns, "both", ofQuery)] : [queryPanel(), panelFor(columns, "key", ofKey)];
  const main = panels.at(-1);
  const alignment = isAligned(rows, columns) ? alignmentPicture(rows, columns, { act: ofQuery }) : null;
  const channelChoice = rows.kind === "series" || columns.kind === "series" ? channelPicker() : null;
  const heads = headsFor();
  const backWords = decision === null ? "Back to all queries" : "Back to the class token";
  const back = element("button", { type: "button", text: backWords, on: { click: release } });
  const settings = main.settings ?? element("div", { class: "input-settings" });
  settings.append(back);
  const body = element("div", { class: "input-view" }, ...laidOut());

  // A picture stands left of what belongs to it; words that ask about it stand above both.
  function laidOut() {
    const parts = (list) => list.filter(Boolean).map((part) => part.element ?? part);
    const under = [alignment, main.settings ? null : settings];
    const box = (name, list) => element("div", { class: name }, ...parts(list));
    const sideBySide = (left, right) => box("input-beside", [box("input-stage", left), box("input-stack", right)]);
    if (!isOne && rows.kind === "picture") return [sideBySide([panels[0]], [channelChoice, main, ...under, heads])];
    if (columns.kind === "picture") return [...parts([channelChoice, ...panels.slice(0, -1)]), sideBySide([main, ...under], [heads])];
    return [box("input-below", [box("input-stack", [channelChoice, ...panels, ...under]), heads])];
  }

  function queryPanel() {
    if (!SOUGHT.includes(rows.kind)) return panelFor(rows, "query", ofQuery);
    const label = `${rows.name}: queries`;
    if (rows.count > MOST_CHIPS) return longList(rows, { label, act: ofQuery });
    return chipRow(rows, { label, act: ofQuery, isChosen: true });
  }

  function panelFor(side, role, act) {
    if (side.kind === "picture") return patchesPanel(side, { role, act, opacity, setOpacity });
    if (side.kind === "positions" && side.count <= MOST_BARS) return barsPanel(side, { act, ordering, setOrder, isQuery: role === "both" });
    if (side.kind === "text" && side.count <= MOST_CHIPS) return chipRow(side, { label: side.name, act, isChosen: role === "both" });
    return trackPanel(side, { role, act, channels });
  }

  function opacity() {
    const value = Number(context.state.opacity ?? OPACITY);
    return value >= 0 && value <= 1 ? value : Number(OPACITY);
  }

  function setOpacity(value) {
    context.set({ opacity: value === OPACITY ? null : value });
  }

  function ordering() {
    return context.state.order === "sorted" ? "sorted" : "order";
  }

  function setOrder(value) {
    context.set({ order: value === "sorted" ? value : null });
  }

  // Which channel of a series is shown, null for all.
  function channels() {
    const side = [rows, columns].find(({ kind }) => kind === "series");
    if (side === undefined) return null;
    return side.channels.length === 1 ? 0 : positionIn(context.state.channel, side.channels.length);
  }

  function channelPicker() {
    const side = [rows, columns].find(({ kind }) => kind === "series");
    if (side.channels.length === 1) return null;
    const options = [["", side.channels.length > 8 ? "the first 8" : "all"], ...side.channels.map((name, i) => [String(i), name.slice(0, 80)])];
    const made = picker("Channel", options, (value) => context.set({ channel: value || null }));
    return { element: made.element, draw: () => made.show(channels() === null ? "" : String(channels())) };
  }

  // Small pictures of all heads: over a picture, or as ribbons that line up with the axis.
  function headsFor() {
    if (columns.kind === "picture") {
      const [gridRows, gridColumns] = columns.grid;
      const paint = (canvas, weights, scale, query) => {
        const drawn = drawShares(canvas, columns, weights, scale, opacity());
        const patch = isOne && query !== null ? query - start : -1;
        if (drawn === null || patch < 0) return;
        const cell = { row: Math.floor(patch / gridColumns), column: patch % gridColumns };
        drawFrame(drawn.context, cellBox(drawn.box, gridRows, gridColumns, cell), { thick: 1 });
      };
      return headPanel(context, { layers, aspect: aspectOf(columns.picture.shape), start, paint });
    }
    if (columns.kind !== "sound" && columns.kind !== "series") return null;
    const paint = (canvas, weights, scale) => {
      const open = openCanvas(canvas);
      if (open !== null) drawRibbon(open.context, { x: 0, y: 0, width: open.width, height: open.height }, weights, scale);
    };
    return headPanel(context, { layers, isWide: true, paint });
  }

  function release() {
    local.pointed = null;
    local.probe = null;
    if (pinned() !== null) context.set({ query: null });
    else showSoon();
  }

  async function show() {
    if (colors === null || !body.isConnected) return;
    const serial = ++asked;
    const [layer, chosen, query] = [context.layer(), context.heads(), shown() ?? decision];
    const shares = await readOnce(layer, chosen, query);
    if (serial !== asked || !body.isConnected) return;
    last = { layer, chosen, query, shares };
    const { weights } = shares;
    const { high, smallest } = rangeOf(weights, start);
    const scale = makeScale(context.state.scale, high, smallest);
    const probe = isOne ? (pinned() === null ? null : local.pointed) : local.probe;
    const marks = { shown: shown(), pinned: pinned(), colors, isPointing: local.pointed !== null };
    const words = context.headsText();
    const [ofQueries, ofKeys] = isOne ? [null, panels[0]] : panels;
    ofQueries?.draw({ ...marks, weights: null, probe: pinned() === null ? null : local.pointed });
    ofKeys.draw({ ...marks, ...(isOne ? {} : { shown: null, pinned: null }), weights, isHeld: (position) => isHeld(shares, position), isMean: shares.block !== null, scale, words, probe, most: high, fraction: scale.fraction });
    alignment?.draw({ layer, heads: chosen, kind: context.state.scale, shown: shown(), colors });
    back.disabled = shown() === null && probe === null;
    context.say(...weightsSentence(context.headsText(), last, columns, subject(query), { start, probe, isPinned: pinned() !== null }));
    heads?.draw(query);
  }

  async function readOnce(layer, chosen, query) {
    if (last !== null && last.layer === layer && last.query === query && last.chosen.join() === chosen.join()) return last.shares;
    return readShares(layer, chosen, query);
  }

  return {
    element: body,
    draw() {
      colors = palette();
      channelChoice?.draw();
      show();
    },
    key(event) {
      if (event.key === "Escape" && (shown() !== null || local.probe !== null)) release();
      else if (/^\d$/.test(event.key) && Number(event.key) < context.layer().heads) context.set({ head: event.key });
      else return false;
      return true;
    },
    async table() {
      const [layer, chosen, query] = [context.layer(), context.heads(), shown() ?? decision];
      const { weights } = await readShares(layer, chosen, query);
      const of = plainText(subject(query));
      const name = `${context.headsText()}, ${of}`;
      return { name, header: ["position", "name", "weight"], rows: Array.from(weights, (weight, i) => [i, positionText(columns, i), weight]) };
    },
    get canvas() {
      return alignment?.canvas ?? panels.findLast((panel) => panel.canvas)?.canvas;
    },
  };
}

function positionIn(words, count) {
  const at = words === undefined || words === "" ? -1 : Number(words);
  return Number.isInteger(at) && at >= 0 && at < count ? at : null;
}

function decisionOf(side) {
  if (side.kind !== "picture") return null;
  const at = side.extra.findIndex((name) => /class|cls/i.test(name));
  return at < 0 ? null : at;
}

function isAligned(rows, columns) {
  return SOUGHT.includes(rows.kind) && columns.kind === "sound" && rows.count > 1 && rows.count <= MOST_ALIGNED;
}
