// Two heads side by side, and the difference of their weights: of one layer, of two, or of two inputs or models.
import { cellOf } from "./cells.js";
import { colorStrip, makeScale, paint } from "./color.js";
import { distanceOf, gridsOf } from "./compare-distance.js";
import { compareSheet, compareTable } from "./compare-export.js";
import { compareFigure } from "./compare-figure.js";
import { compareSides, shortTitle } from "./compare-sides.js";
import { element } from "./dom.js";
import { canvasOf } from "./drawing.js";
import { percent, precise, precisePercent } from "./format.js";
import { headsText } from "./heads.js";
import { spanNodes } from "./positions.js";
import { paintSigned, signedStrip } from "./signed-color.js";
import { isDark } from "./theme.js";
import { perFrame } from "./timing.js";
import { rangeOf } from "./weights.js";

const MAPS = ["left", "right", "difference"];
const DECADES = 1e3; // from the largest difference down to the smallest that the logarithm tells from 0

export function compareView(context) {
  const shown = { key: null, serial: 0, grids: null, sides: null, images: null, imagesKey: null };
  let pointed = null; // positions { row, column } on the left and on the right
  const pointSoon = perFrame(() => {
    drawMaps();
    tell();
  });

  const sides = compareSides(context);
  const same = element("input", { type: "checkbox", on: { change: () => context.set({ same: same.checked ? null : "no" }) } });
  const relative = element("input", { type: "checkbox", on: { change: () => context.set({ link: relative.checked ? null : "absolute" }) } });
  const relativeLabel = element("label", { class: "compare-check" }, relative, "same relative position");
  const figures = Object.fromEntries(MAPS.map((name) => [name, compareFigure(name, handlersOf(name))]));
  const why = element("p", { class: "note" });
  const facts = element("dl", { class: "facts" });
  const source = element("p", { class: "note" });
  const body = element(
    "div",
    { class: "compare" },
    element("div", { class: "compare-bar" }, ...sides.bar, element("label", { class: "compare-check" }, same, "same scale left and right"), relativeLabel),
    element("div", { class: "compare-maps" }, ...MAPS.map((name) => figures[name].element)),
    why,
    element("div", { class: "compare-numbers" }, facts, source),
  );

  function draw() {
    const both = sides.both();
    sides.show(both.right);
    same.checked = context.state.same !== "no";
    relative.checked = context.state.link !== "absolute";
    const key = [both.left, both.right].map(({ page, layer, heads }) => `${page.id}:${layer.index}:${heads.join()}`).join("|");
    if (key === shown.key) drawMaps();
    else load(key, both).catch((error) => context.say(`The maps cannot be shown: ${error.message}`));
  }

  async function load(key, both) {
    shown.key = key;
    const serial = ++shown.serial;
    const grids = await gridsOf(both.left, both.right);
    if (serial !== shown.serial) return;
    Object.assign(shown, { grids, sides: both, images: null });
    pointed = null;
    const isSame = grids.difference !== null;
    const isOne = both.right.page === context;
    for (const name of MAPS.slice(0, 2)) figures[name].name(titleOf(name), isOne ? "" : both[name].page.section.title);
    figures.difference.name(titleOf("difference"), isOne ? "" : "orange: right is larger; blue: left is larger");
    figures.difference.element.hidden = !isSame;
    body.classList.toggle("has-two", !isSame);
    why.hidden = isSame;
    why.textContent = grids.why;
    relativeLabel.hidden = isSame || (both.left.layer.queries === both.right.layer.queries && both.left.layer.keys === both.right.layer.keys);
    facts.replaceChildren();
    source.textContent = isSame ? "The numbers are being computed." : "";
    drawMaps();
    const distance = await distanceOf(both.left, both.right, grids);
    if (serial === shown.serial && distance !== null) showNumbers(distance);
  }

  function showNumbers({ isExact, absolute, cosine, variation, rows, columns }) {
    const numbers = [
      [`mean absolute difference of a ${isExact ? "weight" : "cell"}`, precisePercent(absolute)],
      ["cosine similarity of the two maps", cosine === null ? "–" : precise(cosine)],
      ["total variation of a row (mean)", precisePercent(variation)],
    ];
    facts.replaceChildren(...numbers.map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
    source.textContent = isExact
      ? `From all ${rows} × ${columns} weights.`
      : `From maps of ${rows} × ${columns} cells: differences within a cell are not seen.`;
  }

  function titleOf(name) {
    if (name === "difference") return "Right minus left";
    const { layer, words } = shown.sides[name];
    return `${name === "left" ? "Left" : "Right"}: ${headsText(layer, words)}`;
  }

  // Images of the maps, one pixel a cell, made anew when a scale or the theme has changed.
  function prepareImages() {
    const { left, right, difference } = shown.grids;
    const isNight = isDark() && !context.isPrinting();
    const kind = context.state.scale;
    const key = `${kind}|${context.state.same}|${isNight}`;
    if (shown.images !== null && shown.imagesKey === key) return;
    const ranges = [rangeOf(left.values), rangeOf(right.values)];
    const shared = { high: Math.max(...ranges.map(({ high }) => high)), smallest: Math.min(...ranges.map(({ smallest }) => smallest)) };
    const scales = {};
    const images = {};
    [left, right].forEach((grid, i) => {
      const { high, smallest } = context.state.same !== "no" ? shared : ranges[i];
      scales[MAPS[i]] = makeScale(kind, high, smallest);
      images[MAPS[i]] = imageOf(grid, (image) => paint(image, grid.values, 0, scales[MAPS[i]]));
    });
    if (difference !== null) {
      const { high } = rangeOf(difference.map(Math.abs));
      scales.difference = makeScale(kind, high, high / DECADES);
      images.difference = imageOf(left, (image) => paintSigned(image, difference, scales.difference, isNight));
    }
    Object.assign(shown, { images, scales, imagesKey: key, isNight });
    for (const name of Object.keys(scales)) figures[name].showBar(barOf(name));
  }

  // The colors of a map and the numbers below them.
  function barOf(name) {
    const scale = shown.scales[name];
    if (name === "difference") return { strip: signedStrip(shown.isNight), labels: [-scale.value(1), 0, scale.value(1)].map(signed) };
    return { strip: colorStrip(), labels: [0, 0.5, 1].map((fraction) => percent(scale.value(fraction))) };
  }

  function drawMaps() {
    if (shown.grids === null) return;
    prepareImages();
    const at = cursor();
    for (const name of Object.keys(shown.images)) {
      figures[name].draw(sideNamed(name).layer, gridNamed(name), shown.images[name], at && cellAt(name, at));
      figures[name].read(at === null ? [] : readingOf(name, at));
    }
  }

  // The difference has the positions and the cells of the left side.
  const sideKey = (name) => (name === "right" ? "right" : "left");
  const sideNamed = (name) => shown.sides[sideKey(name)];
  const gridNamed = (name) => shown.grids[sideKey(name)];

  // What is pointed at, or else what was kept.
  function cursor() {
    if (pointed !== null) return pointed;
    const [row, column] = (context.state.spot ?? "").split(",").map(Number);
    const { layer } = shown.sides.left;
    const isThere = context.state.spot && row >= 0 && row < layer.queries && column >= 0 && column < layer.keys;
    return isThere && Number.isInteger(row + column) ? linked("left", { row, column }) : null;
  }

  // The position on both sides that belongs to a position on one.
  function linked(from, spot) {
    const to = from === "left" ? "right" : "left";
    const [here, there] = [shown.sides[from].layer, shown.sides[to].layer];
    const isShare = context.state.link !== "absolute";
    const over = (position, own, other) => (own === other ? position : isShare ? Math.floor(((position + 0.5) * other) / own) : Math.min(position, other - 1));
    return { [from]: spot, [to]: { row: over(spot.row, here.queries, there.queries), column: over(spot.column, here.keys, there.keys) } };
  }

  function cellAt(name, at) {
    const [grid, spot] = [gridNamed(name), at[sideKey(name)]];
    return { row: cellOf(spot.row, grid.rowEdges), column: cellOf(spot.column, grid.columnEdges) };
  }

  // The positions of a cell.
  function spansOf(name, cell) {
    const { rowEdges, columnEdges } = gridNamed(name);
    return { rows: [rowEdges[cell.row], rowEdges[cell.row + 1]], columns: [columnEdges[cell.column], columnEdges[cell.column + 1]] };
  }

  function valueAt(name, cell) {
    const grid = gridNamed(name);
    return (name === "difference" ? shown.grids.difference : grid.values)[cell.row * grid.columns + cell.column];
  }

  function pairNodes(name, cell) {
    const { side } = sideNamed(name).layer;
    const { rows, columns } = spansOf(name, cell);
    const [query, key] = [rows[1] - rows[0] > 1 ? "queries " : "query ", columns[1] - columns[0] > 1 ? " to keys " : " to key "];
    return [query, ...spanNodes(side.rows, ...rows), key, ...spanNodes(side.columns, ...columns)];
  }

  function readingOf(name, at) {
    const cell = cellAt(name, at);
    if (name === "difference") return [element("strong", { text: signed(valueAt(name, cell)) })];
    return [element("strong", { text: percent(valueAt(name, cell)) }), " ", ...pairNodes(name, cell)];
  }

  function tell() {
    const at = cursor();
    if (at === null) return context.say();
    const [left, right] = [cellAt("left", at), cellAt("right", at)];
    const words = [...pairNodes("left", left), `: left ${percent(valueAt("left", left))}, `];
    if (shown.sides.right.page !== context || shown.grids.difference === null) words.push("right ", ...pairNodes("right", right), `: ${percent(valueAt("right", right))}`);
    else words.push(`right ${percent(valueAt("right", right))}`);
    if (shown.grids.difference !== null) words.push(`, right minus left ${signed(valueAt("difference", left))}`);
    return context.say(...words);
  }

  // What a figure does where it is pointed at.
  function handlersOf(name) {
    const positionIn = (cell, choose) => {
      const { rows, columns } = spansOf(name, cell);
      return linked(sideKey(name), { row: choose(...rows), column: choose(...columns) });
    };
    return {
      rows: () => gridNamed(name).rows,
      columns: () => gridNamed(name).columns,
      current: () => (cursor() === null ? null : cellAt(name, cursor())),
      point(cell) {
        pointed = cell && positionIn(cell, (start, end) => Math.floor((start + end - 1) / 2));
        pointSoon();
      },
      pick(cell) {
        const { row, column } = positionIn(cell, (start) => start).left;
        const words = `${row},${column}`;
        context.set({ spot: context.state.spot === words ? null : words });
        tell();
      },
      release,
    };
  }

  function release() {
    pointed = null;
    context.say();
    context.set({ spot: null });
  }

  function svg() {
    if (shown.grids === null) return null;
    const at = cursor();
    return compareSheet(
      Object.entries(shown.images).map(([name, image]) => {
        const cell = at && cellAt(name, at);
        const about = name !== "difference" ? shortTitle(sideNamed(name).page.section.title) : cell === null ? "" : `marked cell: ${signed(valueAt(name, cell))}`;
        return { title: titleOf(name), about, layer: sideNamed(name).layer, grid: gridNamed(name), image, cell, bar: barOf(name) };
      }),
    );
  }

  async function table() {
    const both = sides.both();
    return compareTable(both, await gridsOf(both.left, both.right));
  }

  function key(event) {
    if (event.key !== "Escape" || shown.grids === null || cursor() === null) return false;
    release();
    return true;
  }

  return { element: body, draw, key, table, svg };
}

function imageOf({ rows, columns }, fill) {
  return canvasOf(fill(new ImageData(columns, rows)));
}

function signed(value) {
  return value === 0 ? "0" : `${value < 0 ? "\u2212" : "+"}${percent(Math.abs(value))}`;
}
