// One head, or the mean of some, as a map that can be moved and enlarged down to single pairs.
import { element } from "./dom.js";
import { drawFrame, openCanvas } from "./drawing.js";
import { number, percent } from "./format.js";
import { boxOf, drawAxes, drawCells, drawCrosshair, drawLinks, drawMarker, drawStrip, drawTile, layOut } from "./map-draw.js";
import { mapSheet, mapTable } from "./map-export.js";
import { watchGestures } from "./map-gestures.js";
import { mapLegend } from "./map-legend.js";
import { miniMap } from "./map-minimap.js";
import { mapReadout } from "./map-readout.js";
import { mapSource } from "./map-source.js";
import { frameOf, inside, isWhole, moved, readView, wholeOf, writeView, zoomed } from "./map-viewport.js";
import { canvasPen } from "./pen.js";
import { clamp } from "./pointing.js";
import { palette } from "./theme.js";
import { perFrame } from "./timing.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const [LARGER, SMALLER] = [1 / 2, 2];
const PAN = 1 / 6; // of what is in view, for a key
const SETTLED = 250; // milliseconds without a movement until the address is written
const LEAST_BOX = 6; // pixels of a drawn box

export function mapView(context) {
  const { state } = context;
  const base = element("canvas", { class: "map-base", "aria-hidden": "true" });
  const cover = element("canvas", {
    class: "map-cover",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of a matrix",
    "aria-label": "Map of attention. Arrow keys move a cursor, Shift and arrow keys move the map, + and - zoom, 0 shows the whole map, Enter pins a pair.",
  });
  const button = (text, label, act) => element("button", { type: "button", class: "map-button", "aria-label": label, title: label, text, on: { click: act } });
  const smaller = button("\u2212", "Zoom out (-)", () => zoomAt(SMALLER));
  const larger = button("+", "Zoom in (+)", () => zoomAt(LARGER));
  const all = element("button", { type: "button", class: "map-button", text: "Whole map", title: "Whole map (0)", on: { click: () => goTo(wholeOf(frame)) } });
  const legend = mapLegend();
  const mini = miniMap({ current: () => ({ view, frame }), goTo });
  const stack = element("div", { class: "map-stack" }, base, cover);
  const hint = element("p", { class: "note map-hint", text: "Scroll, pinch or double-click to zoom; drag to move; Shift and drag to zoom into a box. Click to pin a pair." });
  const buttons = element("div", { class: "map-buttons", role: "group", "aria-label": "Zoom" }, smaller, larger, all);
  const controls = element("div", { class: "map-controls" }, buttons, legend.bar, hint, legend.note);
  const root = element("div", { class: "map-view" }, stack, element("div", { class: "map-side" }, controls, mini.element));

  let source = null; // what is shown
  let sourceKey = null;
  let frame = null; // what can be seen of it
  let view = null; // the part in view
  let readRect; // the words of the address that `view` follows from
  let lay = null; // where the parts of the drawing lie
  let colors = palette();
  let point = null; // what is pointed at: { i, j }
  let pinnedBefore = null; // the pair that was pinned before the first of two clicks
  let drawnBox = null; // while a part is chosen by a drag
  let settle = null;
  const readOut = mapReadout(context.say);
  const drawBaseSoon = perFrame(drawBase);
  const drawCoverSoon = perFrame(drawCover);

  watchGestures(cover, {
    isWhole: () => view === null || isWhole(view, frame),
    hover: (x, y) => pointAt(positionAt(x, y)),
    leave: () => pointAt(null),
    click,
    move: (dx, dy) => view && lay && goTo(moved(view, (-dy / lay.box.height) * (view.bottom - view.top), (-dx / lay.box.width) * (view.right - view.left), frame)),
    zoom: zoomUnder,
    frame: (box) => {
      drawnBox = box;
      drawCoverSoon();
    },
    enlarge,
  });
  cover.addEventListener("blur", () => pointAt(null));

  // --- what is in view

  function goTo(next) {
    if (view === null) return;
    view = inside(next, frame);
    drawBaseSoon();
    window.clearTimeout(settle);
    settle = window.setTimeout(writeRect, SETTLED);
  }

  function writeRect() {
    settle = null;
    readRect = writeView(view, frame) ?? undefined;
    if (readRect !== state.rect) context.set({ rect: readRect ?? null });
  }

  // Zooms around what is pointed at, or else around the middle.
  function zoomAt(factor) {
    if (view === null) return;
    const isAtPoint = point !== null && isInView(point);
    const down = isAtPoint ? (point.i + 0.5 - view.top) / (view.bottom - view.top) : 0.5;
    const right = isAtPoint ? (point.j + 0.5 - view.left) / (view.right - view.left) : 0.5;
    goTo(zoomed(view, factor, down, right, frame));
  }

  function zoomUnder(factor, x, y) {
    if (view !== null && lay !== null) goTo(zoomed(view, factor, shareOf(y - lay.box.y, lay.box.height), shareOf(x - lay.box.x, lay.box.width), frame));
  }

  function enlarge(box) {
    if (view === null || lay === null || box.width < LEAST_BOX || box.height < LEAST_BOX) return;
    const row = (y) => view.top + shareOf(y - lay.box.y, lay.box.height) * (view.bottom - view.top);
    const column = (x) => view.left + shareOf(x - lay.box.x, lay.box.width) * (view.right - view.left);
    goTo({ top: row(box.y), bottom: row(box.y + box.height), left: column(box.x), right: column(box.x + box.width) });
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
    drawCoverSoon();
  }

  function click(x, y, isSecond) {
    if (isSecond) {
      if ((state.pair ?? null) !== pinnedBefore) context.set({ pair: pinnedBefore });
      zoomUnder(LARGER, x, y);
      return;
    }
    pinnedBefore = state.pair ?? null;
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
    else drawCoverSoon();
    return true;
  }

  // Moves the map, or the cursor by a cell; the map follows the cursor.
  function step(down, right, isMap) {
    const [height, width] = [view.bottom - view.top, view.right - view.left];
    if (isMap) return goTo(moved(view, down * height * PAN, right * width * PAN, frame));
    if (point === null) {
      point = pinned() !== null && isInView(pinned()) ? pinned() : { i: Math.floor((view.top + view.bottom) / 2), j: Math.floor((view.left + view.right) / 2) };
    } else {
      const cell = source.cellAt(point);
      const next = (at, by, from, to, length) => clamp(by > 0 ? to : by < 0 ? from - 1 : at, length);
      point = { i: next(point.i, down, cell.top, cell.bottom, frame.queries), j: next(point.j, right, cell.left, cell.right, frame.keys) };
    }
    const past = (at, start, end) => Math.min(0, at - start) + Math.max(0, at + 1 - end);
    const [i, j] = [past(point.i, view.top, view.bottom), past(point.j, view.left, view.right)];
    if (i !== 0 || j !== 0) goTo(moved(view, i, j, frame));
    drawCoverSoon();
  }

  // --- drawing

  function draw() {
    const [layer, chosen] = [context.layer(), context.heads()];
    colors = palette();
    const wantedKey = `${layer.index}|${chosen.join()}`;
    if (wantedKey !== sourceKey) open(layer, chosen);
    sourceKey = wantedKey;
    if (view === null || (settle === null && state.rect !== readRect)) {
      view = readView(state.rect, frame);
      readRect = state.rect;
    }
    drawBase();
  }

  function open(layer, chosen) {
    const grid = context.section.layers[layer.index]?.map?.shape ?? null;
    const old = frame;
    frame = frameOf(layer, grid);
    point = null;
    const isSameShape = old?.queries === frame.queries && old.keys === frame.keys;
    if (!isSameShape) {
      view = null;
      window.clearTimeout(settle);
      settle = null;
    }
    source?.close();
    source = mapSource(layer, chosen, { frame, backdrop: isSameShape ? source.backdrop : null, changed: drawBaseSoon, failed: context.say });
  }

  function drawBase() {
    if (view === null || stack.clientWidth === 0) return;
    const has = (name) => name in (source.layer.curves ?? {});
    lay = layOut(stack.clientWidth, source.layer, { hasRight: has("entropy"), hasBottom: has("received") });
    for (const canvas of [base, cover]) Object.assign(canvas.style, { width: `${lay.width}px`, height: `${lay.height}px` });
    const isAll = isWhole(view, frame);
    cover.style.touchAction = isAll ? "pan-y" : "none";
    source.ask(view, lay.box);
    const open = openCanvas(base);
    if (open === null) return;
    drawAll(canvasPen(open.context));
    larger.disabled = view.bottom - view.top <= frame.fewestRows && view.right - view.left <= frame.fewestColumns;
    [all.disabled, smaller.disabled] = [isAll, isAll];
    if (source.drawn() !== null) legend.show(source.drawn(), state.scale, view, frame, source.layer);
    mini.show(source.backdrop, state.scale, { view, frame }, isAll);
    drawCover();
  }

  // Everything but the cursor; cell by cell where the drawing is edited later.
  function drawAll(pen, isEdited = false) {
    const { layer, tile, backdrop, curves } = source;
    const { box } = lay;
    const covers = tile !== null && tile.top <= view.top && tile.bottom >= view.bottom && tile.left <= view.left && tile.right >= view.right;
    pen.rect(box, { color: colors.line, alpha: 0.4 });
    pen.within(box, () => {
      if (!isEdited && backdrop !== null && !covers) drawTile(pen, backdrop, view, box, state.scale);
      const drawn = source.drawn();
      if (drawn !== null && !(isEdited && drawCells(pen, drawn, view, box, state.scale))) drawTile(pen, drawn, view, box, state.scale);
      if (tile?.links) drawLinks(pen, tile, view, box, state.scale, frame.keys);
    });
    pen.frame({ x: box.x - 0.5, y: box.y - 0.5, width: box.width + 1, height: box.height + 1 }, { color: colors.line });
    drawAxes(pen, layer, view, box, colors);
    const strip = (points, at, rest) => at !== null && points !== null && drawStrip(pen, points, { ...rest, box: at, colors });
    strip(curves.entropy, lay.right, { length: frame.queries, from: view.top, to: view.bottom, words: "entropy", format: number, isStanding: true });
    strip(curves.received, lay.bottom, { length: frame.keys, from: view.left, to: view.right, words: "received", format: percent, isStanding: false });
  }

  function drawCover() {
    if (view === null || lay === null) return;
    const open = openCanvas(cover);
    if (open === null) return;
    const pen = canvasPen(open.context);
    const fixed = pinned();
    pen.within({ x: lay.box.x - 3, y: lay.box.y - 3, width: lay.box.width + 6, height: lay.box.height + 6 }, () => {
      const boxAt = (at) => boxOf(lay.box, view, source.cellAt(at));
      if (fixed !== null && isInView(fixed)) drawMarker(open.context, boxAt(fixed));
      if (point !== null && isInView(point)) drawCrosshair(pen, open.context, boxAt(point), lay.box);
      if (drawnBox !== null) drawFrame(open.context, drawnBox, { dashed: true, thick: 1 });
    });
    readOut(source, point ?? fixed, point === null);
  }

  return {
    element: root,
    draw,
    key,
    table: () => (source?.drawn() ? mapTable(context.headsText(), source.drawn(), view, frame) : null),
    svg: () => (lay === null ? null : mapSheet(lay, source.drawn(), state.scale, colors, (pen) => drawAll(pen, true))),
  };
}

function shareOf(pixels, size) {
  return Math.min(1, Math.max(0, pixels / size));
}
