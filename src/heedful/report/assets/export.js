// Saves what a view shows: as a picture, as a drawing, and its numbers. Nothing leaves the machine.
import { SCALES } from "./color.js";
import { csvText } from "./csv.js";
import { element } from "./dom.js";
import { npzParts } from "./npz.js";
import { canvasPen } from "./pen.js";
import { svgText, vectorCanvas } from "./svg-canvas.js";
import { palette } from "./theme.js";

const DENSITY = 2;
const MOST_PIXELS = 16_384; // along one side of a canvas, which is what all browsers can make
const MOST_LETTERS = 400; // of a line of the caption
const EDGE = 16;
const CAPTION = { title: 22, line: 18 };
const ITEMS = [
  ["png", "Image (PNG)", savePng],
  ["svg", "Image (SVG)", saveSvg],
  ["csv", "Data (CSV)", saveCsv],
  ["npz", "Data (NumPy)", saveNpz],
];
const RELEASED = 60_000; // milliseconds after which a file that was saved is no longer held

const SCALE_NAMES = new Map(SCALES);

let menus = 0;

// A button that opens a list of buttons; `view` gives the view that is shown.
export function exportMenu(context, view) {
  const id = `export-${menus++}`;
  const items = ITEMS.map(([kind, words, save]) => element("button", { type: "button", "data-kind": kind, text: words, on: { click: () => run(save) } }));
  const list = element("div", { id, class: "export-list", hidden: true, role: "group", "aria-label": "Save what is shown" }, ...items);
  const button = element("button", { type: "button", class: "export-button", "aria-expanded": "false", "aria-controls": id, text: "Export", on: { click: () => show(list.hidden) } });
  const box = element("div", { class: "export" }, button, list);
  box.addEventListener("keydown", onKey);
  box.addEventListener("focusout", (event) => event.relatedTarget && !box.contains(event.relatedTarget) && show(false));
  document.addEventListener("pointerdown", (event) => box.contains(event.target) || show(false));
  return box;

  function show(isOpen) {
    list.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) return;
    list.classList.remove("is-left");
    const { right, width } = list.getBoundingClientRect();
    list.classList.toggle("is-left", right > document.documentElement.clientWidth - 8 && right - width > width);
  }

  function onKey(event) {
    event.stopPropagation(); // what is typed here is not for the view
    if (list.hidden || !["Escape", "ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    if (event.key === "Escape") {
      show(false);
      button.focus();
      return;
    }
    const step = event.key === "ArrowDown" ? 1 : -1;
    const at = items.indexOf(document.activeElement);
    items[at < 0 ? (step > 0 ? 0 : items.length - 1) : (at + step + items.length) % items.length].focus();
  }

  async function run(save) {
    show(false);
    button.focus();
    try {
      const saved = await save(context, view());
      context.say(saved === null ? "This view has nothing to save in this format." : `Saved as ${saved}.`);
    } catch (error) {
      context.say(`The file could not be saved: ${error.message}`);
    }
  }
}

async function savePng(context, view) {
  const drawing = await drawingOf(view);
  if (drawing === null) return null;
  const image = drawing instanceof HTMLCanvasElement ? drawing : await rasterized(drawing);
  const sheet = sheetFor(context, sizeOf(drawing));
  const density = Math.min(DENSITY, MOST_PIXELS / sheet.width, MOST_PIXELS / sheet.height);
  const canvas = element("canvas", { width: Math.round(sheet.width * density), height: Math.round(sheet.height * density) });
  const open = canvas.getContext("2d");
  open.setTransform(density, 0, 0, density, 0, 0);
  open.imageSmoothingQuality = "high";
  sheet.draw(open, image);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (blob === null) throw new Error("the image is too large for this browser");
  return saveFile(context, "png", blob);
}

async function saveSvg(context, view) {
  const drawing = await drawingOf(view);
  if (drawing === null) return null;
  const sheet = sheetFor(context, sizeOf(drawing));
  const { canvas, element: made } = vectorCanvas(sheet.width, sheet.height);
  sheet.draw(canvas.getContext("2d"), drawing);
  return saveFile(context, "svg", new Blob([svgText(made, captionOf(context).join(". "))], { type: "image/svg+xml" }));
}

async function saveCsv(context, view) {
  const table = await view.table?.();
  return table ? saveFile(context, "csv", new Blob([csvText(table)], { type: "text/csv;charset=utf-8" }), table.name) : null;
}

async function saveNpz(context, view) {
  const table = await view.table?.();
  return table ? saveFile(context, "npz", new Blob(npzParts(table), { type: "application/zip" }), table.name) : null;
}

// The SVG element of a view, or else its canvas; null where it has none.
async function drawingOf(view) {
  return (view.svg ? await view.svg() : null) ?? (await view.canvas) ?? null;
}

function sizeOf(drawing) {
  if (drawing instanceof HTMLCanvasElement) {
    const density = window.devicePixelRatio || 1;
    return { width: drawing.clientWidth || drawing.width / density, height: drawing.clientHeight || drawing.height / density };
  }
  const [width, height] = ["width", "height"].map((name) => parseFloat(drawing.getAttribute(name)));
  if (width > 0 && height > 0) return { width, height };
  const [, , wide, high] = (drawing.getAttribute("viewBox") ?? "").split(/[\s,]+/).map(Number);
  return { width: wide || 800, height: high || 600 };
}

// An SVG as an image, with as many pixels as it will cover.
async function rasterized(drawing) {
  const { width, height } = sizeOf(drawing);
  const copy = drawing.cloneNode(true);
  copy.setAttribute("viewBox", copy.getAttribute("viewBox") ?? `0 0 ${width} ${height}`);
  copy.setAttribute("width", String(width * DENSITY));
  copy.setAttribute("height", String(height * DENSITY));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(copy, ""))}`;
  await image.decode();
  return image;
}

// The sheet of a drawing: the page's color, the drawing, and below it what it is.
function sheetFor(context, { width, height }) {
  const [title, ...lines] = captionOf(context).map((line) => line.slice(0, MOST_LETTERS));
  const maxWidth = Math.max(width, 320);
  return {
    width: maxWidth + 2 * EDGE,
    height: height + 3 * EDGE + CAPTION.title + CAPTION.line * lines.length,
    draw(open, image) {
      const { ink, muted } = palette();
      const pen = canvasPen(open);
      pen.rect({ x: 0, y: 0, width: this.width, height: this.height }, { color: window.getComputedStyle(document.body).backgroundColor });
      open.drawImage(image, EDGE, EDGE, width, height);
      const top = height + 2 * EDGE;
      pen.words(title, EDGE, top + 8, { color: ink, size: 14, weight: 600, maxWidth });
      lines.forEach((line, i) => pen.words(line, EDGE, top + CAPTION.title + i * CAPTION.line + 7, { color: muted, maxWidth }));
    },
  };
}

// The title of the section; which heads, and how numbers became colors.
function captionOf({ section, state, headsText }) {
  return [section.title.trim() || "Attention", `${headsText()}; ${SCALE_NAMES.get(state.scale) ?? "linear"} color scale`];
}

// Hands a file to the browser's downloads and returns its name.
function saveFile(context, ending, blob, about = context.state.view) {
  const title = [context.section.title.slice(0, 60), about, context.headsText()].map(plainName).filter(Boolean);
  const name = `${title.join("-").slice(0, 120)}.${ending}`;
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(address), RELEASED);
  return name;
}

// Letters and digits of any script, with hyphens between.
function plainName(text) {
  return text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
}
