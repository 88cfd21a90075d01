// A list of tokens of any length, in lines like a text or one below the other. Only the lines in view exist.
import { element } from "./dom.js";

const AROUND = 4; // lines beyond the edges
const MOST_PRINTED = 400; // lines
const [PADDING, SPACE, JOIN, SIGN] = [6, 5, 1, 10]; // pixels of a token, before a word, within one, around a sign
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

let lists = 0;

// `scroller` is what scrolls the list, or null: the list does itself. `act` is { point(unit or null), press(unit, event) }.
export function tokenList({ label, scroller = null, act }) {
  const id = `text-list-${lists++}`;
  const sheet = element("div", { class: "text-sheet", role: "presentation" });
  const list = element("div", { class: "text-list", role: "listbox", "aria-multiselectable": "true", tabindex: "0", "aria-label": label }, sheet);
  const view = scroller ?? list;
  const rendered = new Map(); // lines by their number
  const nodes = new Map(); // tokens by their unit
  const made = { units: [], starts: [0], lineOf: [], middles: null, height: 28, isWrapped: true, isNumbered: false };
  let painter = () => {};
  let cursor = 0;
  if (scroller === null) list.addEventListener("scroll", () => render());

  const unitOf = (event) => {
    const node = event.target.closest?.(".text-token");
    return node && sheet.contains(node) ? Number(node.dataset.unit) : null;
  };
  sheet.addEventListener("pointerover", (event) => event.pointerType !== "touch" && unitOf(event) !== null && act.point(unitOf(event)));
  list.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && act.point(null));
  list.addEventListener("click", (event) => {
    const unit = unitOf(event);
    if (unit === null) return;
    moveTo(unit, false);
    act.press(unit, event);
  });

  // Gives the list its units; `height` is that of a line. Where units stand one below the other, they are numbered.
  function arrange(units, { isWrapped, isRightToLeft, height }) {
    Object.assign(made, { units, isWrapped, height, isNumbered: !isWrapped });
    clear();
    list.dir = isRightToLeft ? "rtl" : "ltr";
    list.classList.toggle("text-flow", isWrapped);
    cursor = Math.min(cursor, Math.max(0, units.length - 1));
    if (isWrapped) wrap();
    else stack();
    giveHeight(height);
    if (isShown(cursor) || units.length === 0) return;
    cursor = Math.max(0, units.findIndex((_, u) => isShown(u)));
  }

  // Puts each unit into a line of its own; what is gone has none.
  function stack() {
    const starts = [];
    made.lineOf = made.units.map((unit, u) => {
      if (!unit.isGone) starts.push(u);
      return Math.max(0, starts.length - 1);
    });
    Object.assign(made, { starts: [...starts, made.units.length], middles: null });
  }

  // Breaks the units into lines by the widths that they will have.
  function wrap() {
    const { units } = made;
    const most = Math.max(80, sheet.clientWidth - 8);
    const width = widthsIn(window.getComputedStyle(sheet).fontFamily);
    const starts = [];
    made.lineOf = new Int32Array(units.length);
    made.middles = new Float32Array(units.length);
    let at = Infinity;
    units.forEach((unit, u) => {
      const own = unit.isGone ? 0 : Math.min(width(unit), most - SPACE) + (unit.isSpaced ? SPACE : JOIN);
      if (at + own > most && own > 0) {
        starts.push(u);
        at = 0;
      }
      if (starts.length === 0) starts.push(0);
      made.middles[u] = (at === Infinity ? 0 : at) + own / 2;
      at = (at === Infinity ? 0 : at) + own;
      made.lineOf[u] = starts.length - 1;
      if (unit.breaks && !unit.isGone) at = Infinity;
    });
    made.starts = [...starts, units.length];
  }

  function giveHeight(height) {
    made.height = height;
    sheet.style.height = `${(made.starts.length - 1) * height}px`;
    list.style.setProperty("--line", `${height}px`);
    for (const [number, line] of rendered) line.style.top = `${number * height}px`;
  }

  function clear() {
    for (const line of rendered.values()) line.remove();
    rendered.clear();
    nodes.clear();
  }

  // Makes the lines in view and drops the others.
  function render(isAll = false) {
    const [first, last] = isAll ? [0, Math.min(made.starts.length - 1, MOST_PRINTED)] : linesInView(AROUND);
    for (const [number, line] of rendered) {
      if (number >= first && number < last) continue;
      line.remove();
      rendered.delete(number);
      for (let u = made.starts[number]; u < made.starts[number + 1]; u++) nodes.delete(u);
    }
    for (let number = first; number < last; number++) if (!rendered.has(number)) addLine(number);
    keepOrder();
    if (nodes.has(cursor)) list.setAttribute("aria-activedescendant", `${id}-${cursor}`);
    else list.removeAttribute("aria-activedescendant");
  }

  // Lines stand in the document in their order, as a screen reader reads them.
  function keepOrder() {
    const numbers = [...rendered.keys()].sort((a, b) => a - b);
    numbers.forEach((number, i) => {
      if (sheet.children[i] !== rendered.get(number)) sheet.insertBefore(rendered.get(number), sheet.children[i] ?? null);
    });
  }

  function addLine(number) {
    const line = element("div", { class: "text-line", role: "presentation", style: { top: `${number * made.height}px` } });
    for (let u = made.starts[number]; u < made.starts[number + 1]; u++) {
      const unit = made.units[u];
      if (unit.isGone) continue;
      const node = tokenNode(u, unit);
      nodes.set(u, node);
      if (made.isNumbered) line.append(element("span", { class: "text-number", "aria-hidden": "true", text: String(unit.start) }));
      line.append(node);
      painter(u, node);
    }
    rendered.set(number, line);
    sheet.append(line);
  }

  function tokenNode(u, unit) {
    const parts = unit.parts.map(({ text, isSign }) => (isSign ? element("span", { class: "text-sign", text }) : text));
    const label = `${unit.start}: ${unit.text}`;
    const node = element(
      "div",
      {
        class: `text-token${unit.isSpaced ? " text-spaced" : ""}`, id: `${id}-${u}`, role: "option", "data-unit": String(u),
        "aria-label": label, "aria-selected": "false", "aria-posinset": String(u + 1), "aria-setsize": String(made.units.length), title: `${unit.start}: ${unit.title}`,
      },
      element("span", { class: isLong(unit) ? "text-word text-long" : "text-word", dir: "auto" }, ...parts),
    );
    return node;
  }

  function paint(paintNode = painter) {
    painter = paintNode;
    for (const [u, node] of nodes) painter(u, node);
  }

  const isShown = (u) => !made.units[u].isGone;

  // Moves the cursor; `inView` brings it there.
  function moveTo(unit, inView = true) {
    cursor = unit;
    if (inView) reveal(unit);
    else render();
  }

  function reveal(unit) {
    const [top, space] = [made.lineOf[unit] * made.height, view.clientHeight - 2 * made.height];
    if (top < view.scrollTop + 4) view.scrollTop = Math.max(0, top - made.height);
    else if (top + made.height > view.scrollTop + view.clientHeight - 4) view.scrollTop = top - space;
    render();
  }

  // Brings a unit to the middle of the view.
  function center(unit) {
    const top = made.lineOf[unit] * made.height;
    if (top < view.scrollTop || top + made.height > view.scrollTop + view.clientHeight) view.scrollTop = top - view.clientHeight / 2;
    moveTo(unit);
  }

  // Where a key leads from the cursor; null where it leads nowhere.
  function target(key) {
    const page = Math.max(1, Math.floor(view.clientHeight / made.height) - 1);
    if (key === "Home") return next(-1, 1);
    if (key === "End") return next(made.units.length, -1);
    if (key === "PageUp" || key === "PageDown") return inLine(made.lineOf[cursor] + (key === "PageDown" ? page : -page));
    if (key === "ArrowUp" || key === "ArrowDown") return inLine(made.lineOf[cursor] + (key === "ArrowDown" ? 1 : -1), key === "ArrowDown" ? 1 : -1);
    if (key in STEPS && made.isWrapped) return next(cursor, list.dir === "rtl" ? -STEPS[key] : STEPS[key]);
    return null;
  }

  function next(from, step) {
    for (let u = from + step; u >= 0 && u < made.units.length; u += step) if (isShown(u)) return u;
    return cursor;
  }

  // The unit of a line that stands nearest below or above the cursor.
  function inLine(number, step = 1) {
    const lines = made.starts.length - 1;
    for (let line = Math.max(0, Math.min(lines - 1, number)); line >= 0 && line < lines; line += step) {
      let best = null;
      for (let u = made.starts[line]; u < made.starts[line + 1]; u++) {
        if (isShown(u) && (best === null || Math.abs(middle(u) - middle(cursor)) < Math.abs(middle(best) - middle(cursor)))) best = u;
      }
      if (best !== null) return best;
    }
    return cursor;
  }

  function unitsInView() {
    const [first, last] = linesInView(0);
    const units = [];
    for (let u = made.starts[first]; u < made.starts[last]; u++) if (isShown(u)) units.push(u);
    return units;
  }

  // The lines as they lie, those in view or, of running text, the first of all: [{ y, tokens: [{ u, x, width, unit }] }], from
  // the top of what is shown.
  function laidOut() {
    const [first, last] = made.isWrapped ? [0, Math.min(made.starts.length - 1, MOST_PRINTED)] : linesInView(0);
    const width = widthsIn(window.getComputedStyle(sheet).fontFamily);
    const top = made.isWrapped ? 0 : view.scrollTop;
    return Array.from({ length: last - first }, (_, i) => {
      let x = 0;
      const tokens = [];
      for (let u = made.starts[first + i]; u < made.starts[first + i + 1]; u++) {
        const unit = made.units[u];
        if (unit.isGone) continue;
        x += x === 0 ? 0 : unit.isSpaced ? SPACE : JOIN;
        tokens.push({ u, x, width: width(unit), unit });
        x += width(unit);
      }
      return { y: (first + i) * made.height - top + (made.height - 22) / 2, tokens };
    });
  }

  function linesInView(around) {
    const first = Math.floor(view.scrollTop / made.height) - around;
    const last = Math.ceil((view.scrollTop + view.clientHeight) / made.height) + around;
    return [Math.max(0, first), Math.min(made.starts.length - 1, last)];
  }

  const middle = (u) => (made.middles === null ? 0 : made.middles[u]);

  return {
    element: list,
    arrange,
    giveHeight,
    render,
    paint,
    moveTo,
    center,
    target,
    cursor: () => cursor,
    unitsInView,
    laidOut,
    middleOf: (unit) => (made.lineOf[unit] + 0.5) * made.height,
  };
}

// Whether a unit could need more space than there is.
function isLong({ text }) {
  return text.length > 8 || /\p{M}/u.test(text);
}

// How wide a unit is, in pixels.
function widthsIn(family) {
  PEN.font = `15px ${family}`;
  return (unit) => {
    let width = PADDING;
    for (const { text, isSign } of unit.parts) {
      if (!WIDTHS.has(text)) WIDTHS.set(text, PEN.measureText(text).width);
      width += isSign ? WIDTHS.get(text) * 0.75 + SIGN : WIDTHS.get(text);
    }
    return Math.ceil(width);
  };
}

const PEN = element("canvas").getContext("2d");
const WIDTHS = new Map();
