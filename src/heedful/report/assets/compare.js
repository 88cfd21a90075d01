// Two heads side by side, and the difference of their weights: of one layer, of two, or of two inputs or models.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, positionLabel, positionTicks } from "./axes.js";
import { makeScale, paint } from "./colour.js";
import { distanceOf, gridsOf } from "./comparing.js";
import { paintSigned, signedStrip } from "./diverging.js";
import { element, given, number, precise } from "./dom.js";
import { cellBox, drawFrame, openCanvas } from "./drawing.js";
import { hasNames, headsOf, headsText, isolated, nameOf, spotNodes, spotText } from "./naming.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { cellOf, cellStart } from "./store.js";
import { isDark, palette } from "./theme.js";
import { vectorCanvas } from "./vector.js";

const MAPS = ["left", "right", "difference"];
const ROOM = { named: 78, numbered: 46, bottom: 24, top: 4, right: 8 }; // around a map, for its names or numbers
const LEAST_NAME = 11; // pixels of a position that is called by its name
const STEPS = 256; // of a bar of colours
const DECADES = 1e3; // from the largest difference down to the smallest that the logarithm tells from 0
const SHEET = { map: 400, gap: 24, title: 44, bar: 44 }; // of an export

export function compareView(context) {
  const shown = { key: null, serial: 0, grids: null, sides: null, images: null, imagesKey: null };
  let pointed = null; // positions { row, column } on the left and on the right
  let isWaiting = false;

  const pick = (label, change) => element("select", { "aria-label": label, on: { change } });
  const pickers = {
    section: pick("Section on the right", () => choose({ section: pickers.section.value })),
    layer: pick("Layer on the right", () => choose({ layer: pickers.layer.value })),
    head: pick("Head on the right", () => choose({ head: pickers.head.value })),
  };
  const swap = element("button", { type: "button", text: "Swap", title: "What is right becomes left", on: { click: exchange } });
  const same = element("input", { type: "checkbox", on: { change: () => context.set({ same: same.checked ? null : "no" }) } });
  const relative = element("input", { type: "checkbox", on: { change: () => context.set({ link: relative.checked ? null : "absolute" }) } });
  const relativeLabel = element("label", { class: "compare-check" }, relative, "same share of the length");
  const figures = Object.fromEntries(MAPS.map((name) => [name, mapFigure(name)]));
  const why = element("p", { class: "note" });
  const facts = element("dl", { class: "facts" });
  const source = element("p", { class: "note" });
  const body = element(
    "div",
    { class: "compare" },
    element(
      "div",
      { class: "compare-bar" },
      element("span", { class: "compare-with", text: "Right:" }),
      ...[["Section", pickers.section], ["Layer", pickers.layer], ["Head", pickers.head]].map(([words, picker]) => element("label", { class: "picker" }, element("span", { text: words }), picker)),
      swap,
      element("label", { class: "compare-check" }, same, "same scale left and right"),
      relativeLabel,
    ),
    element("div", { class: "compare-maps" }, ...MAPS.map((name) => figures[name].element)),
    why,
    element("div", { class: "compare-numbers" }, facts, source),
  );

  function leftSide() {
    return { page: context, layer: context.layer(), words: context.state.head, heads: context.heads() };
  }

  // What the state names, or else the next head, or the same head of a section with the same layers.
  function rightSide() {
    const [section, layer, ...rest] = (context.state.with ?? "").split(":");
    const page = context.pages.find((one) => one.id === `section-${section}`);
    if (page === undefined || !/^\d+$/.test(layer) || page.layers[layer] === undefined || rest.length === 0) return usualRight();
    return sideOf(page, page.layers[layer], rest.join(":"));
  }

  function usualRight() {
    const [layer, { head }] = [context.layer(), context.state];
    const other = context.pages.find((page) => page !== context && page.layers.length === context.layers.length && page.layers.every((one, i) => one.name === context.layers[i].name));
    if (other) return sideOf(other, other.layers[layer.index], head);
    const next = context.heads().length > 1 ? 0 : (context.heads()[0] + 1) % layer.heads;
    return sideOf(context, layer, String(next));
  }

  function sideOf(page, layer, words) {
    const heads = headsOf(layer, words);
    return { page, layer, words: heads.length === layer.heads && layer.heads > 1 ? "mean" : heads.join(), heads };
  }

  function choose({ section, layer, head }) {
    const right = rightSide();
    const page = context.pages.find((one) => one.id === (section ?? right.page.id)) ?? right.page;
    const at = page.layers[layer ?? right.layer.index] ? (layer ?? right.layer.index) : 0;
    context.set({ with: address({ page, layer: page.layers[at], words: head ?? right.words }) });
  }

  function address({ page, layer, words }) {
    return `${page.id.replace("section-", "")}:${layer.index}:${words}`;
  }

  function exchange() {
    const [left, right] = [leftSide(), rightSide()];
    context.set({ layer: String(right.layer.index), head: right.words, with: address(left) });
  }

  function showPickers(right) {
    const options = (picker, pairs, value) => {
      picker.replaceChildren(...pairs.map(([key, text]) => element("option", { value: key, text })));
      picker.value = value;
    };
    const titles = context.pages.map((page) => [page.id, page === context ? "this section" : shortTitle(page.section.title)]);
    options(pickers.section, titles, right.page.id);
    pickers.section.parentNode.hidden = titles.length < 2;
    options(pickers.layer, right.page.layers.map((layer) => [String(layer.index), `${layer.label}, ${layer.kind}`]), String(right.layer.index));
    const heads = Array.from({ length: right.layer.heads }, (_, head) => [String(head), String(head)]);
    if (right.layer.heads > 1) heads.unshift(["mean", `mean of ${right.layer.heads}`]);
    if (!heads.some(([key]) => key === right.words)) heads.push([right.words, right.words]);
    options(pickers.head, heads, right.words);
    swap.disabled = right.page !== context;
    same.checked = context.state.same !== "no";
    relative.checked = context.state.link !== "absolute";
  }

  function draw() {
    const sides = { left: leftSide(), right: rightSide() };
    showPickers(sides.right);
    const key = [sides.left, sides.right].map(({ page, layer, heads }) => `${page.id}:${layer.index}:${heads.join()}`).join("|");
    if (key === shown.key) drawMaps();
    else load(key, sides).catch((error) => context.say(`The maps cannot be shown: ${error.message}`));
  }

  async function load(key, sides) {
    shown.key = key;
    const serial = ++shown.serial;
    const grids = await gridsOf(sides.left, sides.right);
    if (serial !== shown.serial) return;
    Object.assign(shown, { grids, sides, images: null });
    pointed = null;
    const isSame = grids.difference !== null;
    const isOne = sides.right.page === context;
    for (const [name, { page, layer, words }] of Object.entries(sides)) {
      figures[name].name(`${name === "left" ? "Left" : "Right"}: ${headsText(layer, words)}`, isOne ? "" : page.section.title);
    }
    figures.difference.name("Right less left", isOne ? "" : "orange: right is larger; blue: left is");
    figures.difference.element.hidden = !isSame;
    body.classList.toggle("has-two", !isSame);
    why.hidden = isSame;
    why.textContent = grids.why;
    relativeLabel.hidden = isSame || sameShape();
    facts.replaceChildren();
    source.textContent = isSame ? "The numbers are being computed." : "";
    drawMaps();
    const distance = await distanceOf(sides.left, sides.right, grids);
    if (serial === shown.serial) showNumbers(distance);
  }

  function showNumbers(distance) {
    if (distance === null) return;
    const what = distance.isExact ? "of a weight" : "of a cell";
    const rows = [
      [`mean absolute difference ${what}`, precise(distance.absolute)],
      ["cosine of the two maps", distance.cosine === null ? "–" : precise(distance.cosine)],
      ["total variation of a row, on average", precise(distance.variation)],
    ];
    facts.replaceChildren(...rows.map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value }))));
    source.textContent = distance.isExact
      ? `From all ${distance.rows} × ${distance.columns} weights.`
      : `From maps of ${distance.rows} × ${distance.columns} cells: what differs within a cell is not seen.`;
  }

  function sameShape() {
    const { left, right } = shown.sides;
    return left.layer.queries === right.layer.queries && left.layer.keys === right.layer.keys;
  }

  // Images of the maps, one pixel a cell, made anew when a scale or the theme has changed.
  function prepareImages() {
    const { grids } = shown;
    const isNight = isDark() && !context.isPrinting();
    const key = `${context.state.scale}|${context.state.same}|${isNight}`;
    if (shown.images !== null && shown.imagesKey === key) return;
    const highs = [grids.left, grids.right].map(({ values }) => largest(values));
    const lows = [grids.left, grids.right].map(({ values }) => smallest(values));
    const isShared = context.state.same !== "no";
    const scales = {};
    MAPS.slice(0, 2).forEach((name, i) => {
      scales[name] = makeScale(context.state.scale, isShared ? Math.max(...highs) : highs[i], isShared ? Math.min(...lows) : lows[i]);
    });
    const images = { left: imageOf(grids.left, (image) => paint(image, grids.left.values, 0, scales.left)), right: imageOf(grids.right, (image) => paint(image, grids.right.values, 0, scales.right)) };
    if (grids.difference !== null) {
      const most = largest(grids.difference.map(Math.abs));
      scales.difference = makeScale(context.state.scale, most, most / DECADES);
      images.difference = imageOf(grids.left, (image) => paintSigned(image, grids.difference, scales.difference, isNight));
    }
    Object.assign(shown, { images, scales, imagesKey: key, isNight });
    for (const name of MAPS) if (scales[name]) figures[name].showBar(bar(name));
  }

  // The colours of a map and the numbers below them.
  function bar(name) {
    const scale = shown.scales[name];
    if (name === "difference") return { strip: signedStrip(shown.isNight), labels: [-scale.value(1), 0, scale.value(1)].map(signed) };
    return { strip: plainStrip(), labels: [0, 0.5, 1].map((place) => number(scale.value(place))) };
  }

  function drawMaps() {
    if (shown.grids === null) return;
    prepareImages();
    const at = cursor();
    for (const name of MAPS) {
      if (!shown.images[name]) continue;
      figures[name].draw(at);
      figures[name].read(at === null ? [] : readingOf(name, at));
    }
  }

  function sideNamed(name) {
    return shown.sides[name === "right" ? "right" : "left"];
  }

  function gridNamed(name) {
    return shown.grids[name === "right" ? "right" : "left"];
  }

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
    const [{ layer }, grid] = [sideNamed(name), gridNamed(name)];
    const spot = at[name === "right" ? "right" : "left"];
    return { row: cellOf(spot.row, grid.rows, layer.queries), column: cellOf(spot.column, grid.columns, layer.keys) };
  }

  // The positions of a cell.
  function spansOf(name, cell) {
    const [{ layer }, grid] = [sideNamed(name), gridNamed(name)];
    const span = (at, count, length) => [cellStart(at, count, length), cellStart(at + 1, count, length)];
    return { rows: span(cell.row, grid.rows, layer.queries), columns: span(cell.column, grid.columns, layer.keys) };
  }

  function valueAt(name, cell) {
    const grid = gridNamed(name);
    return (name === "difference" ? shown.grids.difference : grid.values)[cell.row * grid.columns + cell.column];
  }

  function pairNodes(name, cell) {
    const { layer } = sideNamed(name);
    const { rows, columns } = spansOf(name, cell);
    const [many, more] = [rows[1] - rows[0] > 1 ? "queries " : "query ", columns[1] - columns[0] > 1 ? " to keys " : " to key "];
    return [many, ...spotNodes(layer.side.rows, ...rows), more, ...spotNodes(layer.side.columns, ...columns)];
  }

  function readingOf(name, at) {
    const cell = cellAt(name, at);
    if (name === "difference") return [element("strong", { text: signed(valueAt(name, cell)) })];
    return [element("strong", { text: number(valueAt(name, cell)) }), " ", ...pairNodes(name, cell)];
  }

  function point(name, cell) {
    if (cell === null) pointed = null;
    else {
      const { rows, columns } = spansOf(name, cell);
      const middle = ([start, end]) => Math.floor((start + end - 1) / 2);
      pointed = linked(name === "right" ? "right" : "left", { row: middle(rows), column: middle(columns) });
    }
    if (isWaiting) return;
    isWaiting = true;
    window.requestAnimationFrame(() => {
      isWaiting = false;
      drawMaps();
      tell();
    });
  }

  function tell() {
    const at = cursor();
    if (at === null) return context.say();
    const words = [...pairNodes("left", cellAt("left", at)), `: left ${number(valueAt("left", cellAt("left", at)))}, `];
    const right = cellAt("right", at);
    if (shown.sides.right.page !== context || shown.grids.difference === null) words.push("right ", ...pairNodes("right", right), `: ${number(valueAt("right", right))}`);
    else words.push(`right ${number(valueAt("right", right))}`);
    if (shown.grids.difference !== null) words.push(`, right less left ${signed(valueAt("difference", cellAt("left", at)))}`);
    context.say(...words);
  }

  function mapFigure(name) {
    const canvas = element("canvas", { class: "compare-map", tabindex: "0", role: "application", "aria-roledescription": "map of a matrix" });
    const title = element("strong", { class: "compare-title" });
    const origin = given("", "span", { class: "compare-origin" });
    const reading = element("p", { class: "compare-reading", "aria-hidden": "true" });
    const strip = element("canvas", { class: "gradient", "aria-hidden": "true" });
    const labels = [0, 1, 2].map(() => element("span"));
    const colours = element("div", { class: "compare-colours" }, strip, element("div", { class: "bar-numbers" }, ...labels));
    let box = null;
    watchGrid(canvas, {
      get rows() {
        return gridNamed(name).rows;
      },
      get columns() {
        return gridNamed(name).columns;
      },
      locate: (x, y) => (box === null || shown.grids === null ? null : cellUnder(box, gridNamed(name).rows, gridNamed(name).columns, x, y)),
      current: () => (shown.grids === null || cursor() === null ? null : cellAt(name, cursor())),
      point: (cell) => shown.grids !== null && point(name, cell),
      pick: (cell) => {
        if (shown.grids === null) return;
        const { rows, columns } = spansOf(name, cell);
        const spot = linked(name === "right" ? "right" : "left", { row: rows[0], column: columns[0] }).left;
        const words = `${spot.row},${spot.column}`;
        context.set({ spot: context.state.spot === words ? null : words });
        tell();
      },
      release,
    });
    return {
      element: element("figure", { class: `compare-figure compare-${name}` }, element("figcaption", {}, title, origin), canvas, colours, reading),
      name(words, section = "") {
        title.textContent = words;
        origin.textContent = shortTitle(section);
        origin.hidden = section === "";
        canvas.setAttribute("aria-label", `${words}. Arrow keys move from cell to cell, on all maps at once.`);
      },
      read: (nodes) => reading.replaceChildren(...nodes),
      showBar(made) {
        [strip.width, strip.height] = [made.strip.width, 1];
        strip.getContext("2d").drawImage(made.strip, 0, 0);
        labels.forEach((label, i) => (label.textContent = made.labels[i]));
      },
      draw(at) {
        const height = heightOf(sideNamed(name).layer, canvas.clientWidth);
        if (canvas.clientWidth > 0 && canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
        box = drawMap(openCanvas(canvas), sideNamed(name).layer, gridNamed(name), shown.images[name], at && cellAt(name, at)) ?? box;
        for (const below of [colours, reading]) below.style.marginLeft = `${box?.x ?? 0}px`;
      },
    };
  }

  function release() {
    pointed = null;
    context.say();
    context.set({ spot: null });
  }

  // The cells of both maps, and their difference where there is one.
  async function table() {
    const sides = { left: leftSide(), right: rightSide() };
    const grids = await gridsOf(sides.left, sides.right);
    if (grids.difference !== null) return cellsTable(sides, grids);
    const rows = MAPS.slice(0, 2).flatMap((name) => cellRows(sides[name].layer, grids[name]).map((row, at) => [name, ...row, grids[name].values[at]]));
    return { name: "comparison", header: ["side", ...PLACES, "weight"], rows };
  }

  async function svg() {
    const sides = { left: leftSide(), right: rightSide() };
    if (shown.grids === null) return null;
    const names = MAPS.filter((name) => shown.images?.[name]);
    const heights = names.map((name) => heightOf(sideNamed(name).layer, SHEET.map));
    const width = names.length * SHEET.map + (names.length - 1) * SHEET.gap;
    const { canvas, element: drawing } = vectorCanvas(width, Math.max(...heights) + SHEET.title + SHEET.bar);
    const pen = canvas.getContext("2d");
    const [colours, at] = [palette(), cursor()];
    names.forEach((name, i) => {
      const x = i * (SHEET.map + SHEET.gap);
      const { page, layer, words } = sides[name === "right" ? "right" : "left"];
      const title = name === "difference" ? ["Right less left", at === null ? "" : `in the frame: ${signed(valueAt(name, cellAt(name, at)))}`] : [`${name === "left" ? "Left" : "Right"}: ${headsText(layer, words)}`, shortTitle(page.section.title)];
      pen.textAlign = "left";
      pen.textBaseline = "top";
      [pen.font, pen.fillStyle] = ["600 14px system-ui, sans-serif", colours.ink];
      pen.fillText(title[0], x, 0);
      [pen.font, pen.fillStyle] = ["12px system-ui, sans-serif", colours.muted];
      pen.fillText(isolated(title[1]), x, 20);
      const part = vectorCanvas(SHEET.map, heights[i]);
      const { left } = edgesOf(layer, SHEET.map, ratioOf(layer)).edges;
      drawMap(openCanvas(part.canvas), layer, gridNamed(name), shown.images[name], at && cellAt(name, at));
      pen.drawImage(part.element, x, SHEET.title, SHEET.map, heights[i]);
      drawBar(pen, { x: x + left, y: SHEET.title + heights[i] + 8, width: SHEET.map - left - ROOM.right }, bar(name), colours);
    });
    return drawing;
  }

  return {
    element: body,
    draw,
    key(event) {
      if (event.key !== "Escape" || cursor() === null) return false;
      release();
      return true;
    },
    table,
    svg,
  };
}

const PLACES = ["first query", "last query", "query", "first key", "last key", "key"];

// Where each cell of a map lies: its first and last positions, and their names.
function cellRows({ queries, keys, side }, { rows, columns }) {
  const places = (count, length, one) =>
    Array.from({ length: count }, (_, at) => {
      const [start, end] = [cellStart(at, count, length), cellStart(at + 1, count, length)];
      return [start, end - 1, end - start === 1 ? nameOf(one, start) : spotText(one, start, end)];
    });
  const [down, across] = [places(rows, queries, side.rows), places(columns, keys, side.columns)];
  return down.flatMap((query) => across.map((key) => [...query, ...key]));
}

function cellsTable({ left, right }, { left: one, right: other, difference }) {
  const title = ({ page, layer, words }) => `${shortTitle(page.section.title)}, ${headsText(layer, words)}`;
  const rows = cellRows(left.layer, one).map((row, at) => [...row, one.values[at], other.values[at], difference[at]]);
  return { name: "comparison", header: [...PLACES, `left: ${title(left)}`, `right: ${title(right)}`, "right less left"], rows };
}

// The free edges of a map: wide where names stand along it.
function edgesOf(layer, width, ratio) {
  const inner = width - ROOM.named - ROOM.right;
  const areRowsNamed = hasNames(layer.side.rows) && (inner * ratio) / layer.queries >= LEAST_NAME;
  const areColumnsNamed = hasNames(layer.side.columns) && inner / layer.keys >= LEAST_NAME;
  const edges = { left: areRowsNamed ? ROOM.named : ROOM.numbered, bottom: areColumnsNamed ? ROOM.named : ROOM.bottom, top: ROOM.top, right: ROOM.right };
  return { edges, areRowsNamed, areColumnsNamed };
}

function ratioOf({ queries, keys }) {
  return Math.min(2, Math.max(0.5, queries / keys));
}

function heightOf(layer, width) {
  const { edges } = edgesOf(layer, width, ratioOf(layer));
  return Math.round((width - edges.left - edges.right) * ratioOf(layer)) + edges.top + edges.bottom;
}

function drawMap(open, layer, grid, image, cell) {
  if (open === null) return null;
  const { context } = open;
  const colours = palette();
  const { edges, areRowsNamed, areColumnsNamed } = edgesOf(layer, open.width, ratioOf(layer));
  const box = plotBox(open.width, open.height, edges);
  context.imageSmoothingEnabled = false;
  context.drawImage(image, box.x, box.y, box.width, box.height);
  drawBoxLine(context, box, colours);
  if (areRowsNamed) drawNames(context, layer.side.rows, layer.queries, box, false, colours);
  else drawLeftAxis(context, box, positionTicks(layer.queries, box.height), (p) => p / layer.queries, positionLabel, colours);
  if (areColumnsNamed) drawNames(context, layer.side.columns, layer.keys, box, true, colours);
  else drawBottomAxis(context, box, positionTicks(layer.keys, box.width), (p) => p / layer.keys, positionLabel, colours);
  if (cell !== null && cell !== undefined) drawFrame(context, cellBox(box, grid.rows, grid.columns, cell));
  return box;
}

// The names of all positions beside a map, or, turned, below it.
function drawNames(context, side, length, box, isBelow, colours) {
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = colours.muted;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let position = 0; position < length; position++) {
    const name = fitted(context, nameOf(side, position), ROOM.named - 10);
    const share = (position + 0.5) / length;
    context.save();
    if (isBelow) {
      context.translate(box.x + share * box.width, box.y + box.height + 6);
      context.rotate(-Math.PI / 2);
      context.fillText(isolated(name), 0, 0);
    } else context.fillText(isolated(name), box.x - 6, box.y + share * box.height);
    context.restore();
  }
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  const letters = Array.from(text);
  while (letters.length > 1 && context.measureText(`${letters.join("")}\u2026`).width > width) letters.pop();
  return `${letters.join("")}\u2026`;
}

function drawBar(pen, { x, y, width }, { strip, labels }, colours) {
  pen.imageSmoothingEnabled = true;
  pen.drawImage(strip, x, y, width, 10);
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = colours.muted;
  pen.textBaseline = "top";
  labels.forEach((label, i) => {
    pen.textAlign = ["left", "center", "right"][i];
    pen.fillText(label, x + (i * width) / 2, y + 15);
  });
}

function imageOf({ rows, columns }, fill) {
  const canvas = element("canvas", { width: columns, height: rows });
  canvas.getContext("2d").putImageData(fill(new ImageData(columns, rows)), 0, 0);
  return canvas;
}

function plainStrip() {
  const places = Float32Array.from({ length: STEPS }, (_, step) => step / (STEPS - 1));
  return imageOf({ rows: 1, columns: STEPS }, (image) => paint(image, places, 0, makeScale("linear", 1)));
}

function largest(values) {
  return values.reduce((high, value) => Math.max(high, value), 0);
}

function smallest(values) {
  return values.reduce((low, value) => (value > 0 && value < low ? value : low), Infinity);
}

function signed(value) {
  return value === 0 ? "0" : `${value < 0 ? "\u2212" : "+"}${number(Math.abs(value))}`;
}

function shortTitle(title) {
  const letters = Array.from(title.slice(0, 120));
  return letters.length > 48 ? `${letters.slice(0, 47).join("")}\u2026` : title;
}
