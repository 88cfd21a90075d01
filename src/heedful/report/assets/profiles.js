// What the keys of a layer receive, and how spread the rows of its queries are, along the positions.
import { drawCurve } from "./curve.js";
import { element, number, whole } from "./dom.js";
import { nameOf, spotNodes } from "./naming.js";
import { palette } from "./theme.js";

const MOST = 8; // keys in the list of those that receive most
const WORDS = {
  received: { title: "received mass", axis: "key", missing: "The file does not say what the keys of this layer receive." },
  entropy: { title: "entropy of a row (nat)", axis: "query", missing: "The file does not hold the entropy of the rows of this layer." },
};

// The values of a curve of some heads' mean, each of one of equal stretches; null where the file does not say.
export async function profileOf(layer, heads, name) {
  const curves = await Promise.all(heads.map((head) => layer.curve(name, head)));
  if (!curves.includes(null)) return Float64Array.from(curves[0], (_, i) => curves.reduce((sum, curve) => sum + curve[i], 0) / heads.length);
  return name === "received" ? receivedOfMap(layer, await layer.map(heads)) : null;
}

// The mean over the keys of a cell of what each receives from all queries.
function receivedOfMap({ queries, keys }, { rows, columns, values }) {
  const start = (cell, count, length) => Math.ceil((cell * length) / count);
  return Float64Array.from({ length: columns }, (_, column) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += values[row * columns + column] * (start(row + 1, rows, queries) - start(row, rows, queries));
    return sum / (start(column + 1, columns, keys) - start(column, columns, keys));
  });
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
  let isWaiting = false;

  canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && mark(pointAt(event)));
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && mark(null));
  canvas.addEventListener("click", (event) => mark(pointAt(event)));
  canvas.addEventListener("keydown", (event) => {
    if (shown === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step !== undefined) mark(Math.max(0, Math.min(shown.values.length - 1, at === null ? 0 : at + step)));
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
    if (isWaiting) return;
    isWaiting = true;
    window.requestAnimationFrame(() => {
      isWaiting = false;
      draw();
      context.say(...(at === null ? [] : reading()));
      nearby.replaceChildren(...(at === null ? [] : reading()));
    });
  }

  function reading() {
    const { values, layer, words } = shown;
    const side = axis === "key" ? layer.side.columns : layer.side.rows;
    const [start, end] = stretchOf(at, values.length, length());
    const one = end - start === 1;
    const subject = axis === "key" ? (one ? "key" : "keys") : one ? "query" : "queries";
    const received = `receive${one ? "s" : " each"} ${number(values[at])} from ${whole(layer.queries)} queries`;
    const verb = name === "received" ? received : `${one ? "has" : "have"} an entropy of ${number(values[at])} nat`;
    return [`${subject} `, ...spotNodes(side, start, end), ` ${verb}${one ? "" : " on average"} (${words})`];
  }

  function length() {
    return axis === "key" ? shown.layer.keys : shown.layer.queries;
  }

  function curveOn(surface) {
    const marked = at === null ? null : stretchOf(at, shown.values.length, length());
    return drawCurve(surface, { values: shown.values, length: length(), isStanding: false, marked, colours: palette(), title: axis });
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
    element: element("div", { class: "layers-figure" }, element("h3", { text: "Keys that receive most" }), list),
    show({ values, layer }) {
      const order = values === null ? [] : [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, MOST);
      list.replaceChildren(
        ...order.map((point) => {
          const [start, end] = stretchOf(point, values.length, layer.keys);
          const bar = element("span", { style: { width: `${(100 * values[point]) / (values[order[0]] || 1)}%` } });
          const name = element("span", { class: "layers-key" }, ...spotNodes(layer.side.columns, start, end));
          if (nameOf(layer.side.columns, start) !== "") name.title = nameOf(layer.side.columns, start);
          return element("li", {}, name, element("span", { class: "layers-bar", "aria-hidden": "true" }, bar), element("span", { class: "layers-number", text: number(values[point]) }));
        }),
      );
    },
  };
}
