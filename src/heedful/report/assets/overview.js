// All heads of all layers at a glance: a grid of small maps, or a list of them sorted by one of their numbers.
import { element, picker, userText } from "./dom.js";
import { numberName, numberOf, presentNumbers, valueWords } from "./head-numbers.js";
import { kindOf } from "./heads.js";
import { previewPanel } from "./overview-preview.js";
import { aspectOfLayer, drawThumbnail } from "./overview-thumbnail.js";
import { perFrame, slices } from "./timing.js";

const SLICE = 10; // milliseconds of drawing before the page may do something else
const AT_ONCE = 400; // so many small maps are all drawn; of more only those in sight
const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export function overviewView(context) {
  const { state } = context;
  const layers = context.layers.filter((layer) => layer.kind !== "rollout"); // which has no heads
  const names = presentNumbers(layers);
  const layerKinds = [...new Set(layers.map((layer) => layer.kind))];
  const headKinds = [...new Set(layers.flatMap((layer) => Array.from({ length: layer.heads }, (_, head) => kindOf(layer, head))))].filter(Boolean);
  const sort = picker("Sort by", [["", "layer"], ...names.map((name) => [name, numberName(name)])], (value) => context.set({ sort: value || null }));
  const order = element("button", { type: "button", class: "overview-order", on: { click: () => context.set({ order: isRising() ? null : "rising" }) } });
  const kind = picker("Layer kind", [["", "all layers"], ...layerKinds.map((name) => [name, name])], (value) => context.set({ kind: value || null }));
  const found = picker("Head kind", [["", "all heads"], ...headKinds.map((name) => [name, name])], (value) => context.set({ found: value || null }));
  const count = element("p", { class: "note overview-count" });
  const scroller = element("div", { class: "overview-scroll" });
  const preview = previewPanel(context);
  const root = element(
    "div",
    { class: "overview" },
    element(
      "div",
      { class: "overview-bar" },
      names.length > 0 ? element("div", { class: "overview-sort" }, sort.element, order) : null,
      layerKinds.length > 1 ? kind.element : null,
      headKinds.length > 0 ? found.element : null,
    ),
    element("div", { class: "overview-body" }, scroller, preview.element),
    count,
  );

  let tiles = []; // { layer, head, button, canvas, isDrawn }
  let shownKey = null;
  let drawnKey = null;
  let round = 0; // of drawing; an older one stops
  let pointed = null;
  const showSoon = perFrame(showPreview);
  const byButton = new WeakMap();
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) byButton.get(entry.target).isInSight = entry.isIntersecting;
    if (entries.some((entry) => entry.isIntersecting)) drawTiles();
  }, { rootMargin: "300px" });

  scroller.addEventListener("pointerover", (event) => event.pointerType !== "touch" && point(tileOf(event.target)));
  scroller.addEventListener("pointerleave", () => point(tileOf(document.activeElement)));
  scroller.addEventListener("focusin", (event) => point(tileOf(event.target)));
  scroller.addEventListener("click", (event) => open(tileOf(event.target)));

  function isRising() {
    return state.order === "rising";
  }

  function sortName() {
    return names.includes(state.sort) ? state.sort : null;
  }

  function tileOf(target) {
    return byButton.get(target?.closest?.(".overview-tile")) ?? null;
  }

  // A tile of the page stands for a head as long as no other is pointed at.
  function point(tile) {
    pointed = tile;
    showSoon();
  }

  function showPreview() {
    if (pointed !== null) preview.show(pointed.layer, pointed.head);
    else preview.show(context.layer(), context.heads().length === 1 ? context.heads()[0] : 0);
  }

  function open(tile) {
    if (tile !== null) context.set({ view: "map", layer: String(tile.layer.index), head: String(tile.head) });
  }

  function draw() {
    sort.show(sortName() ?? "");
    order.textContent = isRising() ? "lowest first" : "highest first";
    order.disabled = sortName() === null;
    kind.show(layerKinds.includes(state.kind) ? state.kind : "");
    found.show(headKinds.includes(state.found) ? state.found : "");
    const key = JSON.stringify([state.sort, state.order, state.kind, state.found].map((word) => word ?? null));
    if (key !== shownKey) build();
    shownKey = key;
    const isAt = (tile) => tile.layer === context.layer() && context.heads().length === 1 && tile.head === context.heads()[0];
    for (const tile of tiles) {
      if (isAt(tile)) tile.button.setAttribute("aria-current", "true");
      else tile.button.removeAttribute("aria-current");
    }
    if (!tiles.some((tile) => tile.button.tabIndex === 0) && tiles.length > 0) (tiles.find(isAt) ?? tiles[0]).button.tabIndex = 0;
    const drawn = [state.scale, scroller.clientWidth, window.devicePixelRatio, context.isPrinting()].join();
    if (drawn !== drawnKey || !tiles.every((tile) => tile.isDrawn)) {
      drawnKey = drawn;
      for (const tile of tiles) tile.isDrawn = false;
      drawTiles();
    }
    showPreview();
  }

  // The tiles that the state asks for, as rows of layers or as a sorted list.
  function build() {
    sight.disconnect();
    pointed = null;
    const name = sortName();
    const kept = layers.filter((layer) => !layerKinds.includes(state.kind) || layer.kind === state.kind);
    tiles = kept.flatMap((layer) => Array.from({ length: layer.heads }, (_, head) => ({ layer, head, value: name && numberOf(layer, head, name), isDrawn: false })));
    const all = layers.reduce((sum, layer) => sum + layer.heads, 0);
    if (headKinds.includes(state.found)) tiles = tiles.filter(({ layer, head }) => kindOf(layer, head) === state.found);
    if (name !== null) {
      const sign = isRising() ? 1 : -1;
      tiles.sort((a, b) => (a.value === null || b.value === null ? (a.value === null) - (b.value === null) : sign * (a.value - b.value)));
    }
    for (const tile of tiles) makeTile(tile, name);
    scroller.replaceChildren(tiles.length === 0 ? element("p", { class: "note", text: "There are no heads of this kind." }) : name === null ? grid() : list());
    if (tiles.length > AT_ONCE) for (const tile of tiles) sight.observe(tile.button);
    const some = tiles.length === all ? `${all} heads` : `${tiles.length} of ${all} heads`;
    count.textContent = `${some}. Rows are queries, columns are keys; the colors of each map run from 0 to its largest cell.`;
  }

  function makeTile(tile, name) {
    const { layer, head } = tile;
    const words = [`${layer.label}, head ${head}`, kindOf(layer, head), name && `${numberName(name)} ${valueWords(name, tile.value)}`];
    tile.canvas = element("canvas", { class: "overview-canvas", "aria-hidden": "true", style: { aspectRatio: String(1 / aspectOfLayer(layer)) } });
    const under = name === null ? [] : [
      element("span", { class: "overview-name" }, userText(layer.label, "bdi", { class: "overview-label" }), element("span", { text: `\u00a0\u00b7\u00a0${head}` })),
      element("span", { class: "overview-value", text: valueWords(name, tile.value) }),
    ];
    tile.button = element(
      "button",
      { type: "button", class: "overview-tile", tabindex: "-1", "aria-label": words.filter(Boolean).join(", ") },
      element("span", { class: "overview-frame" }, tile.canvas),
      ...under,
    );
    byButton.set(tile.button, tile);
  }

  function grid() {
    const most = Math.max(...tiles.map((tile) => tile.head)) + 1;
    const table = element("div", { class: "overview-grid" });
    const longest = Math.max(...tiles.map((tile) => tile.layer.label.length));
    table.style.setProperty("--heads", String(most));
    table.style.setProperty("--side", `${8 + 7 * Math.min(15, Math.max(5, longest))}px`);
    const heads = Array.from({ length: most }, (_, head) => element("span", { class: "overview-head", text: String(head) }));
    table.append(element("div", { class: "overview-row overview-heads", "aria-hidden": "true" }, element("span", { class: "overview-side", text: "head" }), ...heads));
    for (const layer of new Set(tiles.map((tile) => tile.layer))) {
      const row = element("div", { class: "overview-row", role: "group", "aria-label": layer.label }, userText(layer.label, "span", { class: "overview-side", title: `${layer.label.slice(0, 200)}, ${layer.kind.slice(0, 100)}` }));
      for (const tile of tiles.filter((one) => one.layer === layer)) {
        tile.button.style.gridColumn = String(tile.head + 2);
        row.append(tile.button);
      }
      table.append(row);
    }
    return table;
  }

  function list() {
    return element("div", { class: "overview-list" }, ...tiles.map((tile) => tile.button));
  }

  // Draws what is in sight and not drawn yet, layer after layer, in slices; starting again stops what is under way.
  async function drawTiles() {
    const serial = ++round;
    const everything = tiles.length <= AT_ONCE || context.isPrinting();
    const pause = slices(SLICE);
    for (const tile of tiles) {
      if (tile.isDrawn || !(everything || tile.isInSight)) continue;
      try {
        const map = await tile.layer.map([tile.head]);
        if (serial !== round) return;
        tile.isDrawn = drawThumbnail(tile.canvas, tile.layer, map, state.scale);
      } catch (error) {
        context.say(`A map of ${tile.layer.label} cannot be drawn: ${error.message}`);
        return;
      }
      if ((await pause()) && serial !== round) return;
    }
  }

  function key(event) {
    const tile = tileOf(event.target);
    if (tile === null || event.shiftKey) return false;
    const at = tiles.indexOf(tile);
    let next = null;
    if (event.key === "Home") next = tiles[0];
    else if (event.key === "End") next = tiles[tiles.length - 1];
    else if (event.key in STEPS) next = neighbor(at, ...STEPS[event.key]);
    else return false;
    if (next !== null && next !== undefined && next !== tile) {
      tile.button.tabIndex = -1;
      next.button.tabIndex = 0;
      next.button.focus();
    }
    return true;
  }

  // The tile beside another; above and below it is the nearest one of the next line, as the page shows them.
  function neighbor(at, right, down) {
    if (right !== 0) return tiles[at + right];
    const from = tiles[at].button;
    const middle = from.offsetLeft + from.offsetWidth / 2;
    let line = null;
    let best = null;
    for (let i = at + down; i >= 0 && i < tiles.length; i += down) {
      const top = tiles[i].button.offsetTop;
      if (top === from.offsetTop) continue;
      line ??= top;
      if (top !== line) break;
      const far = Math.abs(tiles[i].button.offsetLeft + tiles[i].button.offsetWidth / 2 - middle);
      if (best === null || far < best.far) best = { far, tile: tiles[i] };
    }
    return best?.tile;
  }

  function table() {
    const header = ["layer", "head", "layer kind", "head kind", ...names];
    return {
      name: "heads",
      header,
      rows: tiles.map(({ layer, head }) => [layer.label, head, layer.kind, kindOf(layer, head) ?? "", ...names.map((name) => numberOf(layer, head, name))]),
    };
  }

  return { element: root, draw, key, table, get canvas() { return contactSheet(tiles); } };
}

// The small maps as one picture, to be saved: as they lie on the page, with the names of layers.
function contactSheet(tiles) {
  const canvas = element("canvas");
  const drawn = tiles.filter((tile) => tile.isDrawn);
  if (drawn.length === 0) return canvas;
  const boxes = drawn.map((tile) => tile.canvas.getBoundingClientRect());
  const [left, top] = [Math.min(...boxes.map((box) => box.left)), Math.min(...boxes.map((box) => box.top))];
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.ceil((Math.max(...boxes.map((box) => box.right)) - left) * density);
  canvas.height = Math.ceil((Math.max(...boxes.map((box) => box.bottom)) - top) * density);
  const pen = canvas.getContext("2d");
  drawn.forEach((tile, i) => pen.drawImage(tile.canvas, Math.round((boxes[i].left - left) * density), Math.round((boxes[i].top - top) * density)));
  return canvas;
}
