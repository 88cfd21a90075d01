// One head, or the mean of some, as a map that can be moved and enlarged down to single pairs.
import { colourBar } from "./colour.js";
import { element, given, number, percent, precise, span, whole } from "./dom.js";
import { drawFrame, openCanvas } from "./drawing.js";
import { frameOf, inside, isWhole, moved, readView, touched, wholeOf, writeView, zoomed } from "./mapcamera.js";
import { boxOf, drawAxes, drawBar, drawCells, drawLinks, drawStrip, drawTile, layOut } from "./mapdraw.js";
import { watchGestures } from "./mapgestures.js";
import { nameOf } from "./maplabels.js";
import { cellIn, loadTile, massInView, partFor, serves, tileOfMap } from "./maptiles.js";
import { canvasPen, svgPen } from "./pens.js";
import { palette } from "./theme.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const [LARGER, SMALLER] = [1 / 2, 2];
const PAN = 1 / 6; // of what is in view, for a key
const SETTLED = 250; // milliseconds without a movement until the address is written
const MINI = 112; // pixels of the small map
const BELOW = 64; // pixels of the bar of colours below a drawing that is saved

export function mapView(context) {
  const { state } = context;
  const base = element("canvas", { class: "map-base", "aria-hidden": "true" });
  const cover = element("canvas", {
    class: "map-cover",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of a matrix",
    "aria-label": "Map of attention. Arrow keys move a cursor, Shift and arrow keys move the map, + and - change its size, 0 shows all of it, Enter pins a pair.",
  });
  const button = (text, label, act) => element("button", { type: "button", class: "map-button", "aria-label": label, title: label, text, on: { click: act } });
  const smaller = button("\u2212", "Zoom out (-)", () => zoomAt(SMALLER));
  const larger = button("+", "Zoom in (+)", () => zoomAt(LARGER));
  const all = element("button", { type: "button", class: "map-button", text: "Whole map", title: "Whole map (0)", on: { click: () => goTo(wholeOf(frame)) } });
  const bar = colourBar();
  const note = element("p", { class: "note map-note" });
  const miniCanvas = element("canvas", { class: "map-mini-canvas", "aria-hidden": "true" });
  const miniFrame = element("div", { class: "map-mini-frame" });
  const mini = element("div", { class: "map-mini", "aria-hidden": "true" }, miniCanvas, miniFrame);
  const stack = element("div", { class: "map-stack" }, base, cover);
  const hint = element("p", { class: "note map-hint", text: "Wheel, pinch or double click to zoom, drag to move, Shift and drag for a box. Click to pin a pair." });
  const root = element(
    "div",
    { class: "map-view" },
    stack,
    element(
      "div",
      { class: "map-side" },
      element("div", { class: "map-controls" }, element("div", { class: "map-buttons", role: "group", "aria-label": "Zoom" }, smaller, larger, all), bar.element, hint, note),
      mini,
    ),
  );

  let source = null; // what is shown: { key, layer, chosen, grid }
  let frame = null;
  let view = null; // the part in view
  let readRect; // the words of the address that `view` follows from
  let backdrop = null; // the tile of the whole map, and that of a part
  let tile = null;
  let curves = { entropy: null, received: null };
  let lay = null;
  let colours = palette();
  let point = null; // what is pointed at: { i, j }
  let drawnBox = null; // while a part is chosen by a drag
  let wanted = null;
  let isLoading = false;
  let serial = 0;
  let settle = null;
  let miniDrawn = { tile: null, kind: null };
  let barShown = null; // the tile and the scale of the bar of colours
  const waiting = { base: false, cover: false };

  watchGestures(cover, {
    isWhole: () => view === null || isWhole(view, frame),
    hover: (x, y) => pointAt(positionAt(x, y)),
    leave: () => pointAt(null),
    click,
    move: (dx, dy) => view && lay && goTo(moved(view, (-dy / lay.box.height) * (view.bottom - view.top), (-dx / lay.box.width) * (view.right - view.left), frame)),
    zoom: (factor, x, y) => view && lay && zoomAt(factor, shareOf(y - lay.box.y, lay.box.height), shareOf(x - lay.box.x, lay.box.width)),
    frame: (box) => {
      drawnBox = box;
      later("cover", drawCover);
    },
    enlarge,
  });
  cover.addEventListener("blur", () => pointAt(null));
  mini.addEventListener("pointerdown", (event) => centreAt(event));
  mini.addEventListener("pointermove", (event) => event.buttons === 1 && centreAt(event));

  function later(what, act) {
    if (waiting[what]) return;
    waiting[what] = true;
    window.requestAnimationFrame(() => {
      waiting[what] = false;
      act();
    });
  }

  // --- what is in view

  function goTo(next) {
    if (view === null) return;
    view = inside(next, frame);
    later("base", drawBase);
    window.clearTimeout(settle);
    settle = window.setTimeout(writeRect, SETTLED);
  }

  function writeRect() {
    settle = null;
    readRect = writeView(view, frame) ?? undefined;
    if (readRect !== state.rect) context.set({ rect: readRect ?? null });
  }

  function zoomAt(factor, down = null, right = null) {
    const middle = point !== null && isInView(point) ? { down: (point.i + 0.5 - view.top) / (view.bottom - view.top), right: (point.j + 0.5 - view.left) / (view.right - view.left) } : { down: 0.5, right: 0.5 };
    goTo(zoomed(view, factor, down ?? middle.down, right ?? middle.right, frame));
  }

  function enlarge(box) {
    if (view === null || lay === null || box.width < 6 || box.height < 6) return;
    const at = (pixels, start, size, from, to) => from + shareOf(pixels - start, size) * (to - from);
    goTo({
      top: at(box.y, lay.box.y, lay.box.height, view.top, view.bottom),
      bottom: at(box.y + box.height, lay.box.y, lay.box.height, view.top, view.bottom),
      left: at(box.x, lay.box.x, lay.box.width, view.left, view.right),
      right: at(box.x + box.width, lay.box.x, lay.box.width, view.left, view.right),
    });
  }

  function centreAt(event) {
    if (view === null) return;
    const [i, j] = [(event.offsetY / mini.clientHeight) * frame.queries, (event.offsetX / mini.clientWidth) * frame.keys];
    goTo(moved(view, i - (view.top + view.bottom) / 2, j - (view.left + view.right) / 2, frame));
  }

  function positionAt(x, y) {
    if (lay === null || view === null) return null;
    const [down, right] = [(y - lay.box.y) / lay.box.height, (x - lay.box.x) / lay.box.width];
    if (down < 0 || down >= 1 || right < 0 || right >= 1) return null;
    return { i: Math.floor(view.top + down * (view.bottom - view.top)), j: Math.floor(view.left + right * (view.right - view.left)) };
  }

  function isInView({ i, j }) {
    return i + 1 > view.top && i < view.bottom && j + 1 > view.left && j < view.right;
  }

  // --- pointing and pinning

  function pointAt(next) {
    if (point === null && next === null) return;
    point = next;
    later("cover", drawCover);
  }

  let before = null; // the pair that was pinned before the first of two clicks

  function click(x, y, isSecond) {
    if (isSecond) {
      if ((state.pair ?? null) !== before) context.set({ pair: before });
      zoomAt(LARGER, shareOf(y - lay.box.y, lay.box.height), shareOf(x - lay.box.x, lay.box.width));
      return;
    }
    before = state.pair ?? null;
    pin(positionAt(x, y));
  }

  function pin(at) {
    if (at === null) return;
    const words = `${at.i},${at.j}`;
    context.set({ pair: state.pair === words ? null : words });
  }

  function pinned() {
    const match = /^(\d{1,9}),(\d{1,9})$/.exec(state.pair ?? "");
    if (match === null) return null;
    const [i, j] = [Number(match[1]), Number(match[2])];
    return i < frame.queries && j < frame.keys ? { i, j } : null;
  }

  function key(event) {
    if (view === null) return false;
    if (event.key === "+" || event.key === "=") zoomAt(LARGER);
    else if (event.key === "-" || event.key === "_") zoomAt(SMALLER);
    else if (event.key === "0") goTo(wholeOf(frame));
    else if (event.key === "Escape") return release();
    else if (event.target !== cover) return false;
    else if (event.key in STEPS) step(...STEPS[event.key], event.shiftKey);
    else if ((event.key === "Enter" || event.key === " ") && point !== null) pin(point);
    else return event.key === " ";
    return true;
  }

  function release() {
    if (pinned() === null && point === null) return false;
    point = null;
    if (state.pair !== undefined) context.set({ pair: null });
    else later("cover", drawCover);
    return true;
  }

  // Moves the map, or the cursor by a cell; the map follows the cursor.
  function step(down, right, isMap) {
    const [height, width] = [view.bottom - view.top, view.right - view.left];
    if (isMap) return goTo(moved(view, down * height * PAN, right * width * PAN, frame));
    if (point === null) {
      point = pinned() !== null && isInView(pinned()) ? pinned() : { i: Math.floor((view.top + view.bottom) / 2), j: Math.floor((view.left + view.right) / 2) };
    } else {
      const cell = cellAt(point);
      const next = (at, by, from, to, most) => Math.max(0, Math.min(most - 1, by > 0 ? to : by < 0 ? from - 1 : at));
      point = { i: next(point.i, down, cell.top, cell.bottom, frame.queries), j: next(point.j, right, cell.left, cell.right, frame.keys) };
    }
    const past = (at, start, end) => Math.min(0, at - start) + Math.max(0, at + 1 - end);
    const [i, j] = [past(point.i, view.top, view.bottom), past(point.j, view.left, view.right)];
    if (i !== 0 || j !== 0) goTo(moved(view, i, j, frame));
    later("cover", drawCover);
  }

  // The drawn cell at a position: of the tile of a part, or of the whole map; a single pair where links are drawn.
  function cellAt({ i, j }) {
    const one = { top: i, bottom: i + 1, left: j, right: j + 1 };
    if (tile?.links && cellIn(tile, i, j) !== null) return { ...one, value: tile.links.weights.get(i * frame.keys + j) ?? null, isLink: true };
    return (tile && cellIn(tile, i, j)) ?? (backdrop && cellIn(backdrop, i, j)) ?? { ...one, value: null };
  }

  // --- what is asked for

  function ask() {
    const part = partFor(view, frame, lay.box);
    if (tile !== null && serves(tile.part, part, view)) return;
    wanted = { source, part };
    if (!isLoading) load();
  }

  // One question at a time, and then the newest.
  async function load() {
    isLoading = true;
    while (wanted !== null) {
      const asked = wanted;
      wanted = null;
      try {
        const made = await loadTile(asked.source.layer, asked.source.chosen, asked.part, asked.source.grid, () => asked.source !== source || wanted !== null);
        if (made === null || asked.source !== source) continue;
        tile = Object.assign(made, { part: asked.part });
        later("base", drawBase);
        refine(asked, made);
      } catch (error) {
        if (asked.source === source) context.say(`This part cannot be shown: ${error.message}`);
      }
    }
    isLoading = false;
  }

  // Shows finer tiles of the same part as they come.
  async function refine(asked, coarse) {
    try {
      for (let made = coarse; made.finer !== null; ) {
        const finer = await made.finer();
        if (asked.source !== source || tile !== made) return;
        made = tile = Object.assign(finer, { part: asked.part });
        later("base", drawBase);
      }
    } catch (error) {
      if (asked.source === source) context.say(`This part cannot be shown finer: ${error.message}`);
    }
  }

  async function open(mine) {
    const { layer, chosen } = mine;
    try {
      const map = await layer.map(chosen);
      if (mine !== source) return;
      backdrop = tileOfMap(map, frame);
      later("base", drawBase);
      for (const name of ["entropy", "received"]) {
        const each = (await Promise.all(chosen.map((head) => layer.curve(name, head)))).filter((points) => points !== null);
        if (mine !== source) return;
        curves[name] = each.length === 0 ? null : Float32Array.from({ length: each[0].length }, (_, at) => each.reduce((sum, points) => sum + points[at], 0) / each.length);
      }
      later("base", drawBase);
    } catch (error) {
      if (mine === source) context.say(`This map cannot be shown: ${error.message}`);
    }
  }

  // --- drawing

  function draw() {
    const layer = context.layer();
    const chosen = context.heads();
    const sign = `${layer.index}|${chosen.join()}`;
    colours = palette();
    if (source === null || source.key !== sign) {
      const grid = context.section.layers[layer.index]?.map?.shape ?? null;
      const old = frame;
      source = { key: sign, layer, chosen, grid, serial: ++serial };
      frame = frameOf(layer, grid);
      [tile, point, curves] = [null, null, { entropy: null, received: null }];
      if (old === null || old.queries !== frame.queries || old.keys !== frame.keys) [backdrop, view, settle] = [null, null, window.clearTimeout(settle)];
      open(source);
    }
    if (view === null || (settle === null && state.rect !== readRect)) {
      view = readView(state.rect, frame);
      readRect = state.rect;
    }
    drawBase();
  }

  function has(name) {
    return name in (source.layer.curves ?? {});
  }

  function drawBase() {
    if (view === null || stack.clientWidth === 0) return;
    lay = layOut(stack.clientWidth, source.layer, { hasRight: has("entropy"), hasBottom: has("received") });
    for (const canvas of [base, cover]) Object.assign(canvas.style, { width: `${lay.width}px`, height: `${lay.height}px` });
    const isAll = isWhole(view, frame);
    cover.style.touchAction = isAll ? "pan-y" : "none";
    ask();
    const open = openCanvas(base);
    if (open === null) return;
    drawAll(canvasPen(open.context));
    describe(isAll);
    drawMini(isAll);
    drawCover();
  }

  // Everything but the cursor, with either pen.
  function drawAll(pen, isSvg = false) {
    const { layer } = source;
    pen.rect(lay.box, { colour: colours.line, alpha: 0.4 });
    pen.within(lay.box, () => {
      if (!isSvg && backdrop !== null && !coversView()) drawTile(pen, backdrop, view, lay.box, state.scale);
      const drawn = tile ?? backdrop;
      if (drawn !== null && !(isSvg && drawCells(pen, drawn, view, lay.box, state.scale))) drawTile(pen, drawn, view, lay.box, state.scale);
      if (tile?.links) drawLinks(pen, tile, view, lay.box, state.scale, frame.keys);
    });
    pen.frame({ x: lay.box.x - 0.5, y: lay.box.y - 0.5, width: lay.box.width + 1, height: lay.box.height + 1 }, { colour: colours.line });
    drawAxes(pen, layer, view, lay.box, colours);
    if (lay.right !== null && curves.entropy !== null) {
      drawStrip(pen, curves.entropy, { length: frame.queries, from: view.top, to: view.bottom, box: lay.right, words: "entropy", isStanding: true, colours, format: number });
    }
    if (lay.bottom !== null && curves.received !== null) {
      drawStrip(pen, curves.received, { length: frame.keys, from: view.left, to: view.right, box: lay.bottom, words: "received", isStanding: false, colours, format: number });
    }
  }

  function coversView() {
    return tile !== null && tile.top <= view.top && tile.bottom >= view.bottom && tile.left <= view.left && tile.right >= view.right;
  }

  function barWords() {
    const drawn = tile ?? backdrop;
    const isSingle = drawn === null || drawn.links !== null || drawn.rows * drawn.columns === (drawn.bottom - drawn.top) * (drawn.right - drawn.left);
    return isSingle ? "weight of a pair" : "what a query gives to the keys of a cell";
  }

  function describe(isAll) {
    const drawn = tile ?? backdrop;
    larger.disabled = view.bottom - view.top <= frame.fewestRows && view.right - view.left <= frame.fewestColumns;
    [all.disabled, smaller.disabled] = [isAll, isAll];
    if (drawn === null) return;
    if (barShown?.tile !== drawn || barShown.kind !== state.scale) bar.show(drawn.scale(state.scale), barWords(), number);
    barShown = { tile: drawn, kind: state.scale };
    const words = noteWords(drawn);
    if (note.textContent !== words) note.textContent = words;
  }

  function noteWords(drawn) {
    const size = `${whole(frame.queries)} \u00d7 ${whole(frame.keys)} pairs`;
    if (drawn.links) {
      return `Largest links shown: ${percent(massInView(drawn, view))} of the mass of these rows. Behind them, softly, the mean weight of the pairs of a cell.`;
    }
    const [high, wide] = [(drawn.bottom - drawn.top) / drawn.rows, (drawn.right - drawn.left) / drawn.columns];
    if (high <= 1 && wide <= 1) return `${size}, each one a cell.`;
    const held = { links: " Zoom in for the largest links of each row.", pairs: " Zoom in for single pairs.", live: " Zoom in for single pairs.", rows: " Zoom in for single pairs.", map: " The file holds no single pairs." };
    return `${size} in cells of ${number(high)} \u00d7 ${number(wide)}.${held[source.layer.holds] ?? ""}`;
  }

  // The whole map, small, is drawn once; what changes is the frame of the part in view.
  function drawMini(isAll) {
    mini.style.visibility = isAll ? "hidden" : "visible";
    const [w, h] = [MINI * Math.min(1, Math.max(0.3, frame.keys / frame.queries)), MINI * Math.min(1, Math.max(0.3, frame.queries / frame.keys))];
    Object.assign(mini.style, { width: `${Math.round(w)}px`, height: `${Math.round(h)}px` });
    if (isAll || backdrop === null) return;
    const { x, y, width, height } = boxOf({ x: 0, y: 0, width: Math.round(w), height: Math.round(h) }, wholeOf(frame), view);
    const [wide, high] = [Math.max(8, width), Math.max(8, height)];
    const place = (at, size, room) => Math.min(room - size, Math.max(0, at));
    Object.assign(miniFrame.style, { width: `${wide}px`, height: `${high}px`, transform: `translate(${place(x - (wide - width) / 2, wide, w)}px, ${place(y - (high - height) / 2, high, h)}px)` });
    if (miniDrawn.tile === backdrop && miniDrawn.kind === state.scale) return;
    const open = openCanvas(miniCanvas);
    if (open === null) return;
    drawTile(canvasPen(open.context), backdrop, wholeOf(frame), { x: 0, y: 0, width: open.width, height: open.height }, state.scale);
    miniDrawn = { tile: backdrop, kind: state.scale };
  }

  function drawCover() {
    if (view === null || lay === null) return;
    const open = openCanvas(cover);
    if (open === null) return;
    const pen = canvasPen(open.context);
    pen.within({ x: lay.box.x - 3, y: lay.box.y - 3, width: lay.box.width + 6, height: lay.box.height + 6 }, () => {
      const fixed = pinned();
      if (fixed !== null && isInView(fixed)) mark(open.context, fixed);
      if (point !== null && isInView(point)) crosshair(pen, open.context);
      if (drawnBox !== null) drawFrame(open.context, drawnBox, { dashed: true, thick: 1 });
    });
    read();
  }

  function mark(canvas, at) {
    const { x, y, width, height } = boxOf(lay.box, view, cellAt(at));
    const [w, h] = [Math.max(6, width), Math.max(6, height)];
    drawFrame(canvas, { x: x + (width - w) / 2, y: y + (height - h) / 2, width: w, height: h });
  }

  // Lines to the axes that leave the cell itself free, and go on through the curves.
  function crosshair(pen, canvas) {
    const cell = boxOf(lay.box, view, cellAt(point));
    const [x, y] = [cell.x + cell.width / 2, cell.y + cell.height / 2];
    const { box } = lay;
    for (const [colour, alpha] of [["#000", 0.55], ["#fff", 0.85]]) {
      const shift = colour === "#000" ? 1 : 0;
      const style = { colour, alpha };
      pen.line(box.x, y + shift, cell.x - 2, y + shift, style);
      pen.line(cell.x + cell.width + 2, y + shift, box.x + box.width, y + shift, style);
      pen.line(x + shift, box.y, x + shift, cell.y - 2, style);
      pen.line(x + shift, cell.y + cell.height + 2, x + shift, box.y + box.height, style);
    }
    mark(canvas, point);
  }

  // --- words

  let lastRead = null;

  function read() {
    const at = point ?? pinned();
    const cell = at && cellAt(at);
    const sign = at === null ? "" : [source.serial, at.i, at.j, cell.value, cell.bottom - cell.top, curves.entropy !== null].join();
    if (sign === lastRead) return;
    lastRead = sign;
    if (at === null) return context.say("Point at the map to read its numbers.");
    context.say(...readout(at, cell));
    if (point === null && (cell.value === null || cell.bottom - cell.top > 1 || cell.right - cell.left > 1)) addExact(at, sign);
  }

  function readout(at, cell) {
    const { rows, columns } = source.layer.side;
    const isPair = cell.bottom - cell.top <= 1 && cell.right - cell.left <= 1;
    const words = [`query ${span(cell.top, cell.bottom)}`, ...named(rows, cell.top, cell.bottom), `, key ${span(cell.left, cell.right)}`, ...named(columns, cell.left, cell.right), ": "];
    if (cell.value !== null) words.push(element("strong", { text: precise(cell.value) }), isPair ? "" : " from a query to these keys together, on average");
    else if (cell.isLink) words.push("not among the largest of its row");
    if (curves.entropy !== null) words.push(`; entropy of the ${isPair ? "row" : "rows"} ${precise(meanAt(curves.entropy, cell.top, cell.bottom, frame.queries))}`);
    return words;
  }

  // What is called so, behind its number: the name of one position, the first and last of several.
  function named(side, start, end) {
    const names = end - start > 1 ? [nameOf(side, start), nameOf(side, end - 1)] : [nameOf(side, start)];
    if (names[0] === null) return [];
    const parts = names.flatMap((name, i) => [i > 0 ? " to " : "", name.isGiven ? given(name.words, "bdi", { class: "map-name" }) : name.words]);
    return [" (", ...parts, ")"];
  }

  // The weight of a pinned pair that its cell does not show by itself, where it is known.
  async function addExact({ i, j }, sign) {
    const weight = await source.layer.pair(source.chosen, i, j).catch(() => null);
    if (sign !== lastRead || weight === null || weight === undefined) return;
    context.say(...readout({ i, j }, cellAt({ i, j })), `; the pinned pair (${whole(i)}, ${whole(j)}): `, element("strong", { text: precise(weight) }));
  }

  // --- exports

  // The drawing with the bar of colours.
  function drawSheet(pen, isSvg) {
    pen.rect({ x: 0, y: 0, width: lay.width, height: lay.height + BELOW }, { colour: colours.panel });
    drawAll(pen, isSvg);
    const drawn = tile ?? backdrop;
    if (drawn !== null) drawBar(pen, { x: lay.box.x, y: lay.height + 26, width: Math.min(lay.box.width, 320) }, drawn.scale(state.scale), barWords(), colours, number);
  }

  function sheet() {
    const canvas = element("canvas");
    if (lay === null) return canvas;
    const density = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(lay.width * density), Math.round((lay.height + BELOW) * density)];
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    drawSheet(canvasPen(pen), false);
    return canvas;
  }

  function svg() {
    if (lay === null) return null;
    const pen = svgPen(lay.width, lay.height + BELOW);
    drawSheet(pen, true);
    return pen.drawing();
  }

  function title() {
    return `${source.layer.label}, ${context.headWords()}`;
  }

  // The cells in view with the positions that they cover; the links in view where these are drawn.
  function table() {
    const drawn = tile ?? backdrop;
    if (drawn === null) return null;
    const part = touched(view, frame);
    if (drawn.links) {
      const header = ["query", "key", "weight"];
      const rows = [...drawn.links.weights].map(([at, weight]) => [Math.floor(at / frame.keys), at % frame.keys, weight]);
      return { name: title(), header, rows: rows.filter(([i, j]) => i >= part.top && i < part.bottom && j >= part.left && j < part.right) };
    }
    const inView = (edges, start, end) => Array.from({ length: edges.length - 1 }, (_, cell) => cell).filter((cell) => edges[cell + 1] > start && edges[cell] < end);
    const [rows, columns] = [inView(drawn.rowEdges, part.top, part.bottom), inView(drawn.columnEdges, part.left, part.right)];
    const header = ["first query", "last query", ...columns.map((column) => `key ${spanWords(drawn.columnEdges[column], drawn.columnEdges[column + 1])}`)];
    return {
      name: title(),
      header,
      rows: rows.map((row) => [drawn.rowEdges[row], drawn.rowEdges[row + 1] - 1, ...columns.map((column) => drawn.values[row * drawn.columns + column])]),
    };
  }

  return { element: root, draw, key, table, svg, get canvas() { return sheet(); } };
}

function spanWords(start, end) {
  return end - start <= 1 ? String(start) : `${start} to ${end - 1}`;
}

function shareOf(pixels, size) {
  return Math.min(1, Math.max(0, pixels / size));
}

// The mean of a curve over some of the positions that its points cover evenly.
function meanAt(points, start, end, length) {
  const first = Math.min(points.length - 1, Math.floor((start * points.length) / length));
  const last = Math.min(points.length, Math.max(first + 1, Math.ceil((end * points.length) / length)));
  let sum = 0;
  for (let at = first; at < last; at++) sum += points[at];
  return sum / (last - first);
}
