// What the keys of a layer receive, and how spread the rows of its queries are, along the positions.
import { meanRowOfMap } from "./cells.js";
import { drawCurve } from "./curve.js";
import { element } from "./dom.js";
import { number, percent } from "./format.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { nameOf, spanNodes } from "./positions.js";
import { palette } from "./theme.js";
import { perFrame } from "./timing.js";

const MOST = 8; // keys in the list of those that receive most
const WORDS = {
  received: { title: "received mass (share of all)", axis: "key" },
  entropy: { title: "entropy of a row (nat)", axis: "query", missing: "The file holds no entropy of the rows of this layer." },
};

// A curve of some heads' mean, as a layer has it; what keys receive, as a share of all mass, is taken from the map where the file has no curve of it.
export async function profileOf(layer, heads, name) {
  const curve = await layer.curve(heads, name);
  if (name !== "received") return curve;
  if (curve !== null) return curve.map((sum) => sum / layer.queries);
  const map = await layer.map(heads);
  return meanRowOfMap(map).map((mass, cell) => mass / (map.columnEdges[cell + 1] - map.columnEdges[cell]));
}

// The positions of one value of a curve.
function stretchOf(point, points, length) {
  return [Math.floor((point * length) / points), Math.floor(((point + 1) * length) / points)];
}

// A curve of a layer: `show({ values, layer, heads })`, `draw()`. `name` is "received" or "entropy".
export function profileFigure(context, name) {
  const { title, axis, missing } = WORDS[name];
  const canvas = element("canvas", {
    class: "layers-curve",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "curve",
    "aria-label": `${title} along the ${axis === "key" ? "keys" : "queries"}. Arrow keys move from position to position.`,
  });
  const nearby = element("span", { class: "layers-reading", "aria-hidden": "true" });
  const note = element("p", { class: "note", text: missing, hidden: true });
  const caption = element("span", { text: name === "received" ? "Received mass along the keys" : "Entropy along the queries" });
  let shown = null;
  let at = null;
  let box = null;
  const tellSoon = perFrame(() => {
    draw();
    context.say(...(at === null ? [] : reading()));
    nearby.replaceChildren(...(at === null ? [] : reading()));
  });

  watchPointer(canvas, pointAt, { point: mark, pick: mark });
  canvas.addEventListener("keydown", (event) => {
    if (shown === null || hasModifier(event)) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined) mark(at === null ? 0 : clamp(at + step, shown.values.length));
    else if (event.key === "Escape") mark(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  function pointAt(event) {
    if (shown === null || box === null) return null;
    const point = Math.floor(((event.offsetX - box.x) / box.width) * shown.values.length);
    return point < 0 || point >= shown.values.length ? null : point;
  }

  function mark(point) {
    if (point === at) return;
    at = point;
    tellSoon();
  }

  function reading() {
    const { values, layer, words } = shown;
    const side = axis === "key" ? layer.side.columns : layer.side.rows;
    const [start, end] = stretchOf(at, values.length, length());
    const one = end - start === 1;
    const subject = axis === "key" ? (one ? "key" : "keys") : one ? "query" : "queries";
    const received = `receive${one ? "s" : " each"} ${percent(values[at])} of all mass`;
    const verb = name === "received" ? received : `${one ? "has" : "have"} an entropy of ${number(values[at])} nat`;
    return [`${subject} `, ...spanNodes(side, start, end), ` ${verb}${one ? "" : " on average"} (${words})`];
  }

  function length() {
    return axis === "key" ? shown.layer.keys : shown.layer.queries;
  }

  function curveOn(surface) {
    const marked = at === null ? null : stretchOf(at, shown.values.length, length());
    return drawCurve(surface, { values: shown.values, length: length(), isStanding: false, marked, colors: palette(), title: axis, format: name === "received" ? percent : number });
  }

  function draw() {
    if (shown !== null) box = curveOn(canvas);
  }

  return {
    element: element("figure", { class: "layers-figure" }, element("figcaption", { class: "layers-caption" }, caption, nearby), canvas, note),
    draw,
    show({ values, layer, words }) {
      shown = values === null ? null : { values, layer, words };
      at = null;
      nearby.replaceChildren();
      canvas.hidden = values === null;
      note.hidden = values !== null;
    },
    isShown: () => shown !== null,
    drawOn: curveOn,
  };
}

// The keys that receive most, as a list with numbers.
export function topList() {
  const list = element("ol", { class: "layers-most" });
  return {
    element: element("div", { class: "layers-figure" }, element("h3", { text: "Most attended keys" }), list),
    show({ values, layer }) {
      const known = values === null ? [] : [...values.keys()].filter((at) => !Number.isNaN(values[at]));
      const order = known.sort((a, b) => values[b] - values[a]).slice(0, MOST);
      list.replaceChildren(
        ...order.map((point) => {
          const [start, end] = stretchOf(point, values.length, layer.keys);
          const bar = element("span", { style: { width: `${(100 * values[point]) / (values[order[0]] || 1)}%` } });
          const name = element("span", { class: "layers-key" }, ...spanNodes(layer.side.columns, start, end));
          if (nameOf(layer.side.columns, start) !== "") name.title = nameOf(layer.side.columns, start);
          return element("li", {}, name, element("span", { class: "layers-bar", "aria-hidden": "true" }, bar), element("span", { class: "layers-number", text: percent(values[point]) }));
        }),
      );
    },
  };
}
