// Attention over text: a running text with shades, or queries and keys side by side with lines between them.
import { makeScale } from "./color.js";
import { choice, element } from "./dom.js";
import { whole } from "./format.js";
import { plainText } from "./positions.js";
import { textSheet } from "./text-export.js";
import { columnFrame, drawConnections, faintLines } from "./text-lines.js";
import { LINE, textLists } from "./text-lists.js";
import { pinAt, shadeOf, textColors, tokenPainter } from "./text-painter.js";
import { textPanel } from "./text-panel.js";
import { textPictures } from "./text-pictures.js";
import { pinHue, pinList, readPins, turnedPins, withPin, writePins } from "./text-pins.js";
import { headline, sentence, unitName } from "./text-readout.js";
import { textSearch } from "./text-search.js";
import { readTokens } from "./text-tokens.js";
import { hasWords, unitAt } from "./text-units.js";
import { openReadings } from "./text-weights.js";
import { perFrame } from "./timing.js";
import { rangeOf } from "./weights.js";

const LAYOUTS = [["flow", "running text"], ["columns", "two columns"]];
const DIRECTIONS = [["out", "attends to"], ["in", "attended by"]];
const BARS = 2; // of pins for which a line has space
const MOST_NAMED = 8; // hidden tokens
const SLOW = 150; // milliseconds after which a readout says that it is not ready

export function textView(context) {
  const { state } = context;
  const layoutName = () => (state.layout === "columns" ? "columns" : "flow");
  const lookName = () => (state.look === "in" ? "in" : "out");
  const lineHeight = () => LINE[layoutName()] + 4 * Math.max(0, pins.length - BARS);

  const layout = choice("Layout", LAYOUTS, "flow", (value) => context.set({ layout: value === "flow" ? null : value }));
  const look = choice("Direction", DIRECTIONS, "out", (value) => context.set({ look: value === "out" ? null : value, pins: state.pins ? turnedPins(state.pins, value) : null }));
  const merge = toggle("merge tokens into words", (isOn) => context.set({ merge: isOn ? "1" : null }));
  const hide = toggle("hide special tokens and sinks", (isOn) => context.set({ hide: isOn ? "1" : null }));
  const matrix = element("button", { type: "button", text: "Show as map", on: { click: () => context.set({ view: "map" }) } });
  const frame = columnFrame(scrolled);
  const lists = textLists(context, { layout: layoutName, lineHeight, frame, act: { point: pointAt, press, focus, blur } });
  const search = textSearch({ read: lists.all, found: showMatches, leave: () => lists.all()[0]?.list.element.focus() });
  const chips = pinList({ show: activate, release });
  const panel = textPanel((unit) => lists.withRole(shown.main.direction === "in" ? "queries" : "keys").list.center(unit));
  const pictures = textPictures();
  const hiddenNote = element("p", { class: "note text-hidden" });
  const root = element(
    "div",
    { class: "text-view" },
    element("div", { class: "text-controls" }, layout.element, look.element, element("div", { class: "text-toggles" }, merge.element, hide.element)),
    element("div", { class: "text-tools" }, chips.element, element("div", { class: "text-find" }, search.element, matrix)),
    element("div", { class: "text-body" }, element("div", { class: "text-left" }, lists.element, pictures.element), panel.element),
    hiddenNote,
  );
  const drawLinesSoon = perFrame(drawLines);
  const faint = faintLines(redrawLines);

  let readKey = "";
  let readings = null;
  let pins = []; // { at, direction, unit }, of this layer
  let active = null; // the index of the pin that is shown when nothing is pointed at
  let pointed = null; // { direction, unit }
  let isByKey = false;
  let matches = new Map(); // role to units that the search found
  let current = null; // { role, unit }, of the search
  let serial = 0;
  let shown = null; // { main, scale, pinned: [{ at, reading, scale }], hidden, hue }
  let colors = null;

  function draw() {
    layout.show(layoutName());
    look.show(lookName());
    merge.show(state.merge === "1");
    hide.show(state.hide === "1");
    colors = null;
    const { rows, columns } = context.layer().side;
    look.element.hidden = layoutName() !== "flow" || !lists.isSelf();
    merge.element.hidden = !hasWords(rows) && !hasWords(columns);
    const change = lists.arrange();
    if (change?.isOther) pointed = null;
    if (change !== null) search.again();
    openAll(change !== null);
    pins = pinsHere();
    if (!pins.some(({ at }) => at === active)) active = pins.at(-1)?.at ?? null;
    chips.show(pins.map((pin) => ({ ...pin, unit: lists.namesOf(pin.direction)[pin.unit] })), active);
    lists.render();
    root.style.setProperty("--text-extra", `${lineHeight() - LINE[layoutName()]}px`);
    show();
  }

  function openAll(isArranged) {
    const layer = context.layer();
    const key = [layer.index, context.heads().join(".")].join();
    if (!isArranged && key === readKey) return;
    readKey = key;
    readings = openReadings(layer, context.heads(), { queries: lists.namesOf("out"), keys: lists.namesOf("in"), hides: state.hide === "1" });
    faint.forget();
  }

  const directionOf = (part) => (part.role === "both" ? lookName() : part.role === "keys" ? "in" : "out");

  // --- pointing and pinning

  function pinsHere() {
    const here = [];
    readPins(state.pins).forEach((pin, at) => {
      if (pin === null) return;
      const units = lists.namesOf(pin.direction);
      const unit = units.length ? unitAt(units, pin.position) : -1;
      if (unit < 0 || pin.position >= units[unit].end || pin.position < units[unit].start) return;
      if (here.some((other) => other.direction === pin.direction && other.unit === unit)) return;
      here.push({ at, direction: pin.direction, unit });
    });
    return here;
  }

  function point(part, unit) {
    const next = unit === null ? null : { direction: directionOf(part), unit };
    if (next?.unit === pointed?.unit && next?.direction === pointed?.direction) return;
    pointed = next;
    show();
  }

  function pointAt(part, unit) {
    isByKey = false;
    point(part, unit);
  }

  function press(part, unit, event) {
    isByKey = false;
    const isPointed = pointed !== null && pointed.unit === unit && pointed.direction === directionOf(part);
    if (event.pointerType === "touch" && !isPointed) point(part, unit);
    else togglePin(part, unit);
  }

  function focus(part) {
    if (!part.list.element.matches(":focus-visible")) return;
    isByKey = true;
    part.list.moveTo(part.list.cursor());
    point(part, part.list.cursor());
  }

  function blur(part) {
    if (isByKey) point(part, null);
  }

  function togglePin(part, unit) {
    const direction = directionOf(part);
    const pinned = pins.find((pin) => pin.direction === direction && pin.unit === unit);
    if (pinned) {
      pointed = null;
      return release(pinned.at);
    }
    const added = withPin(state.pins ? readPins(state.pins) : [], { direction, position: part.units[unit].start });
    active = added.at;
    return context.set({ pins: writePins(added.pins) });
  }

  function release(at) {
    const all = readPins(state.pins);
    all[at] = null;
    context.set({ pins: writePins(all) });
  }

  function activate(at) {
    active = at;
    pointed = null;
    const pin = pins.find((one) => one.at === at);
    lists.withRole(pin.direction === "in" ? "keys" : "queries").list.center(pin.unit);
    draw();
  }

  function showMatches(all, at) {
    matches = new Map(lists.all().map(({ role }) => [role, new Set()]));
    for (const { list, unit } of all) matches.get(list.role).add(unit);
    const match = at < 0 ? null : all[at];
    current = match && { role: match.list.role, unit: match.unit };
    pointed = match && { direction: directionOf(match.list), unit: match.unit };
    match?.list.list.center(match.unit);
    if (readings !== null) show();
  }

  // --- what is shown

  function wantedNow() {
    const pin = pins.find(({ at }) => at === active);
    return pointed ?? pin ?? { direction: "received", unit: null };
  }

  // Reads what is to be shown and shows it, unless something else was asked for meanwhile.
  async function show() {
    const own = ++serial;
    const wanted = wantedNow();
    const slow = window.setTimeout(() => own === serial && root.isConnected && context.say("Computing\u2026"), SLOW);
    const [main, hidden, ...pinned] = await Promise.all([
      readings.read(wanted.direction, wanted.unit),
      readings.hidden(),
      ...pins.map((pin) => readings.read(pin.direction, pin.unit)),
    ]);
    window.clearTimeout(slow);
    if (own !== serial || !root.isConnected) return;
    const isPin = pointed === null && wanted.unit !== null;
    const hue = isPin ? pinHue(active) : wanted.direction === "in" ? "var(--text-in)" : "var(--accent)";
    shown = { main, hidden, hue, scale: scaleOf(main), pinned: pinned.map((reading, i) => ({ ...pins[i], reading, scale: scaleOf(reading) })) };
    colors ??= textColors(root);
    for (const part of lists.all()) {
      const found = { matches: matches.get(part.role), current: current?.role === part.role ? current.unit : null };
      part.list.paint(tokenPainter(part, shown, found, colors));
    }
    const [names, targets] = [lists.namesOf(main.direction), lists.targetsOf(main.direction)];
    panel.show(main, targets, headline(main, names), shown.scale, hue);
    context.say(...sentence(main, names, targets));
    const { columns, rows } = context.layer().side;
    pictures.show(main.direction === "in" ? rows : columns, main.positions, state.scale);
    showHidden(hidden.list);
    redrawLines();
  }

  function scaleOf({ weights }) {
    const { high, smallest } = rangeOf(weights);
    return makeScale(state.scale, high, smallest);
  }

  function showHidden(list) {
    hiddenNote.hidden = list.length === 0;
    if (list.length === 0) return;
    const { show: readToken } = readTokens(context.layer().side.columns);
    const words = list.slice(0, MOST_NAMED).flatMap(({ position, share, why }, i) => {
      const reason = why === "special" ? "" : why === "first" ? ", the first" : `, ${Math.round(100 * share)} % of all mass`;
      return [i ? "; " : "", ...unitName({ ...readToken(position), start: position, end: position + 1 }), reason];
    });
    const more = list.length > MOST_NAMED ? `; and ${whole(list.length - MOST_NAMED)} more` : "";
    hiddenNote.replaceChildren("Hidden: ", ...words, more, ". The rest of each row is renormalized to 1.");
  }

  function scrolled() {
    for (const { list } of lists.all()) list.render();
    redrawLines();
  }

  // Draws the lines with the next frame; at once for a printer.
  function redrawLines() {
    if (context.isPrinting()) drawLines();
    else drawLinesSoon();
  }

  function drawLines() {
    if (layoutName() !== "columns" || shown === null || !frame.element.isConnected) return;
    colors ??= textColors(root);
    drawConnections(frame, { queries: lists.withRole("queries").list, keys: lists.withRole("keys").list }, { faint, readings, shown, colors });
  }

  // --- keys and exports

  function key(event) {
    if (event.key === "/" && !event.target.closest("input")) {
      search.focus();
      return true;
    }
    if (event.key === "Escape") return escape();
    const part = lists.all().find(({ list }) => list.element === event.target);
    if (part === undefined) return false;
    if (event.key === "Enter" || event.key === " ") {
      isByKey = true;
      togglePin(part, part.list.cursor());
      return true;
    }
    if (layoutName() === "columns" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      lists.all()[event.key === "ArrowLeft" ? 0 : 1].list.element.focus();
      return true;
    }
    const unit = part.list.target(event.key);
    if (unit === null) return false;
    isByKey = true;
    part.list.moveTo(unit);
    point(part, unit);
    return true;
  }

  function escape() {
    if (!state.pins && pointed === null) return false;
    pointed = null;
    if (state.pins) context.set({ pins: null });
    else show();
    return true;
  }

  async function table() {
    const all = pointed === null && pins.length ? pins : [wantedNow()];
    const rows = [];
    for (const { direction, unit } of all) {
      const reading = await readings.read(direction, unit);
      const name = plainText(headline(reading, lists.namesOf(direction)));
      lists.targetsOf(direction).forEach((target, u) => {
        if (!target.isGone) rows.push([name, target.start, target.text, reading.weights[u]]);
      });
    }
    return { name: context.headsText(), header: ["of", "position", "token", "weight"], rows };
  }

  // The text as a drawing: running text, or the two columns with the lines between them.
  async function svg() {
    if (shown === null) return null;
    const sheets = lists.all().map((part) => ({ heading: `${part.side.name}, ${part.role}`, role: part.role, lines: part.list.laidOut() }));
    const sides = { queries: lists.withRole("queries").list, keys: lists.withRole("keys").list };
    return textSheet({
      title: plainText(headline(shown.main, lists.namesOf(shown.main.direction))),
      lists: sheets,
      height: layoutName() === "flow" ? lineHeight() : Math.min(frame.element.clientHeight, Math.max(...sheets.map(({ lines }) => (lines.at(-1)?.y ?? 0) + lineHeight()))),
      shadeOf: (role, u) => shadeOf(role, shown, u, colors),
      pinOf: (role, u) => pinAt(role, shown, u),
      legend: { shades: colors.shadesOf(shown.hue), labels: [0, 0.5, 1].map(shown.scale.value) },
      connect: layoutName() === "flow" ? null : (canvas) => drawConnections(frame, sides, { faint, readings, shown, colors }, canvas),
    });
  }

  return { element: root, draw, key, table, svg };
}

function toggle(words, change) {
  const input = element("input", { type: "checkbox", on: { change: () => change(input.checked) } });
  return { element: element("label", { class: "text-toggle" }, input, element("span", { text: words })), show: (isOn) => (input.checked = isOn) };
}
