// Attention over text: a running text with shades, or queries and keys side by side with lines between them.
import { makeScale } from "./colour.js";
import { choice, element, whole } from "./dom.js";
import { columnFrame, drawLines, faintLines, strongest } from "./text-lines.js";
import { tokenList } from "./text-list.js";
import { headline, sentence, textPanel, unitName } from "./text-panel.js";
import { pinBar, pinDash, pinHue, pinLetter, pinList, readPins, withPin, writePins } from "./text-pins.js";
import { textSearch } from "./text-search.js";
import { readTokens } from "./text-tokens.js";
import { hasWords, unitAt, unitsOf } from "./text-units.js";
import { openReadings } from "./text-weights.js";

const LAYOUTS = [["flow", "running text"], ["columns", "two columns"]];
const LOOKS = [["out", "looks at"], ["in", "is looked at by"]];
const LINE = { flow: 32, columns: 28 }; // pixels
const SHADES = 64;
const BARS = 2; // of pins for which a line has room
const MOST_NAMED = 8; // hidden tokens
const SLOW = 150; // milliseconds after which a readout says that it is not ready

export function textView(context) {
  const { state } = context;
  const layout = choice("Layout", LAYOUTS, "flow", (value) => context.set({ layout: value === "flow" ? null : value }));
  const look = choice("A token", LOOKS, "out", (value) => context.set({ look: value === "out" ? null : value }));
  const merge = toggle("merge into words", (isOn) => context.set({ merge: isOn ? "1" : null }));
  const hide = toggle("hide special tokens and sinks", (isOn) => context.set({ hide: isOn ? "1" : null }));
  const matrix = element("button", { type: "button", text: "As a matrix", on: { click: () => context.set({ view: "map" }) } });
  const search = textSearch({ read: () => lists, found: showFound, leave: () => lists[0]?.list.element.focus() });
  const chips = pinList({ show: activate, release });
  const panel = textPanel((unit) => jump(unit));
  const main = element("div", { class: "text-main" });
  const hiddenNote = element("p", { class: "note text-hidden" });
  const frame = columnFrame(() => scrolled());
  const root = element(
    "div",
    { class: "text-view" },
    element("div", { class: "text-controls" }, layout.element, look.element, element("div", { class: "text-toggles" }, merge.element, hide.element)),
    element("div", { class: "text-tools" }, chips.element, element("div", { class: "text-find" }, search.element, matrix)),
    element("div", { class: "text-body" }, main, panel.element),
    hiddenNote,
  );
  const faint = faintLines(() => redrawLines());

  let lists = []; // { role: "both", "queries" or "keys", side, units, list }
  let structure = "";
  let arranged = "";
  let read = "";
  let readings = null;
  let pins = []; // { at, direction, unit }, of this layer
  let active = null; // the place of the pin that is shown when nothing is pointed at
  let pointed = null; // { direction, unit, role }
  let isByKey = false;
  let hits = new Map(); // role to units that the search found
  let current = null; // { role, unit }, of the search
  let serial = 0;
  let shown = null; // { main, scale, pinned: [{ at, reading, scale }], hidden }
  let colours = null;
  let isWaiting = false;

  function draw() {
    layout.show(layoutName());
    look.show(lookName());
    merge.show(state.merge === "1");
    hide.show(state.hide === "1");
    colours = null;
    arrange();
    openAll();
    pins = pinsHere();
    if (!pins.some(({ at }) => at === active)) active = pins.at(-1)?.at ?? null;
    chips.show(pins.map((pin) => ({ ...pin, unit: namesOf(pin.direction)[pin.unit] })), active);
    for (const { list } of lists) list.giveHeight(lineHeight());
    root.style.setProperty("--text-extra", `${lineHeight() - LINE[layoutName()]}px`);
    for (const { list } of lists) list.render(context.isPrinting());
    show();
  }

  const layoutName = () => (state.layout === "columns" ? "columns" : "flow");
  const lookName = () => (state.look === "in" ? "in" : "out");
  const lineHeight = () => LINE[layoutName()] + 4 * Math.max(0, pins.length - BARS);
  const isSelf = () => context.layer().rows === context.layer().columns;

  // Makes the lists where the sides or the layout changed, and fills them where their units or their width did.
  function arrange() {
    const layer = context.layer();
    const made = [layer.rows, layer.columns, layoutName()].join();
    look.element.hidden = layoutName() !== "flow" || !isSelf();
    merge.element.hidden = !hasWords(layer.side.rows) && !hasWords(layer.side.columns);
    if (made !== structure) build(layer);
    const filled = [made, state.merge, state.hide, main.clientWidth].join();
    if (filled === arranged) return;
    if (made !== structure || !arranged.startsWith([made, state.merge, ""].join())) pointed = null;
    [structure, arranged] = [made, filled];
    const options = { isWrapped: layoutName() === "flow", height: lineHeight() };
    for (const part of lists) {
      part.units = unitsOf(part.side, state.merge === "1");
      for (const unit of part.units) unit.isGone = state.hide === "1" && unit.isSpecial;
    }
    arrangeUnits(options);
    search.again();
  }

  function arrangeUnits(options) {
    for (const { list, units, side } of lists) list.arrange(units, { ...options, isRightToLeft: options.isWrapped && readTokens(side).isRightToLeft });
  }

  function build(layer) {
    const roles = layoutName() === "columns" ? ["queries", "keys"] : isSelf() ? ["both"] : ["keys", "queries"];
    lists = roles.map((role) => makeList(role, role === "keys" ? layer.side.columns : layer.side.rows));
    if (layoutName() === "flow") {
      main.replaceChildren(...lists.map(({ list, role, side }) => element("div", { class: `text-block${roles.length > 1 ? " text-half" : ""}` }, roles.length > 1 ? heading(role, side) : null, list.element)));
      return;
    }
    frame.show(lists[0].list.element, lists[1].list.element);
    main.replaceChildren(element("div", { class: "text-heads" }, ...lists.map(({ role, side }) => heading(role, side))), frame.element);
  }

  function heading(role, side) {
    return element("p", { class: "text-heading note" }, element("bdi", { dir: "auto", text: side.name }), role === "keys" ? ", keys" : ", queries");
  }

  function makeList(role, side) {
    const label = role === "both" ? `${side.name}: tokens` : `${side.name}: ${role}`;
    const part = { role, side, units: [] };
    part.list = tokenList({
      label,
      scroller: layoutName() === "columns" ? frame.element : null,
      act: {
        point(unit) {
          isByKey = false;
          point(part, unit);
        },
        press(unit, event) {
          isByKey = false;
          if (event.pointerType === "touch" && !isPointed(part, unit)) point(part, unit);
          else togglePin(part, unit);
        },
      },
    });
    part.list.element.addEventListener("focus", () => {
      if (!part.list.element.matches(":focus-visible")) return;
      isByKey = true;
      part.list.moveTo(part.list.cursor());
      point(part, part.list.cursor());
    });
    part.list.element.addEventListener("blur", () => isByKey && point(part, null));
    return part;
  }

  function openAll() {
    const layer = context.layer();
    const wanted = [layer.index, context.heads().join("."), arranged].join();
    if (wanted === read) return;
    read = wanted;
    readings = openReadings(layer, context.heads(), { queries: namesOf("out"), keys: namesOf("in"), hides: state.hide === "1" });
    faint.forget();
  }

  const withRole = (role) => lists.find((part) => part.role === role || part.role === "both");
  // The units among which that of a reading stands, and those of which it has weights.
  const namesOf = (direction) => withRole(direction === "in" ? "keys" : "queries")?.units ?? [];
  const targetsOf = (direction) => withRole(direction === "in" ? "queries" : "keys")?.units ?? [];
  const directionOf = (part) => (part.role === "both" ? lookName() : part.role === "keys" ? "in" : "out");

  function pinsHere() {
    const here = [];
    readPins(state.pins).forEach((pin, at) => {
      if (pin === null) return;
      const units = namesOf(pin.direction);
      const unit = units.length ? unitAt(units, pin.position) : -1;
      if (unit < 0 || pin.position >= units[unit].end || pin.position < units[unit].start) return;
      if (here.some((other) => other.direction === pin.direction && other.unit === unit)) return;
      here.push({ at, direction: pin.direction, unit });
    });
    return here;
  }

  const isPointed = (part, unit) => pointed !== null && pointed.unit === unit && pointed.direction === directionOf(part);

  function point(part, unit) {
    const next = unit === null ? null : { direction: directionOf(part), unit };
    if (next?.unit === pointed?.unit && next?.direction === pointed?.direction) return;
    pointed = next;
    show();
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
    withRole(pin.direction === "in" ? "keys" : "queries").list.centre(pin.unit);
    draw();
  }

  // Brings a unit of what is shown into view.
  function jump(unit) {
    withRole(shown.main.direction === "in" ? "queries" : "keys").list.centre(unit);
  }

  function wantedNow() {
    const pin = pins.find(({ at }) => at === active);
    return pointed ?? pin ?? { direction: "received", unit: null };
  }

  // Reads what is to be shown and shows it, unless something else was asked for meanwhile.
  async function show() {
    const own = ++serial;
    const wanted = wantedNow();
    const slow = window.setTimeout(() => own === serial && context.say("Computing\u2026"), SLOW);
    const [main, hidden, ...pinned] = await Promise.all([
      readings.read(wanted.direction, wanted.unit),
      readings.hidden(),
      ...pins.map((pin) => readings.read(pin.direction, pin.unit)),
    ]);
    window.clearTimeout(slow);
    if (own !== serial) return;
    const isPin = pointed === null && wanted.unit !== null;
    const hue = isPin ? pinHue(active) : wanted.direction === "in" ? "var(--text-in)" : "var(--accent)";
    shown = { main, hidden, hue, scale: scaleOf(main), pinned: pinned.map((reading, i) => ({ ...pins[i], reading, scale: scaleOf(reading) })) };
    for (const part of lists) part.list.paint(painterOf(part));
    panel.show(main, targetsOf(main.direction), headline(main, namesOf(main.direction)), shown.scale, hue);
    context.say(...sentence(main, namesOf(main.direction), targetsOf(main.direction)));
    showHidden(hidden.list);
    redrawLines();
  }

  function scaleOf(reading) {
    let [high, smallest] = [0, Infinity];
    for (const weight of reading.weights) {
      if (weight > high) high = weight;
      if (weight > 0 && weight < smallest) smallest = weight;
    }
    return makeScale(state.scale, high, smallest === Infinity ? 0 : smallest);
  }

  const serves = (part, direction) => part.role === "both" || part.role === (direction === "in" ? "queries" : "keys");
  const holds = (part, direction) => part.role === "both" || part.role === (direction === "in" ? "keys" : "queries");

  // Shows a token as it stands: its shade, the bars and the letter of pins, and the marks of the pointer and the search.
  function painterOf(part) {
    const { main, scale, pinned, hidden, hue } = shown;
    const shades = serves(part, main.direction) ? main.weights : null;
    const barred = pinned.filter(({ direction }) => serves(part, direction));
    const letters = new Map(pinned.filter(({ direction }) => holds(part, direction)).map(({ unit, at }) => [unit, at]));
    const own = main.unit !== null && holds(part, main.direction) ? main.unit : null;
    const left = part.role === "queries" ? new Set() : hidden.units;
    const found = hits.get(part.role);
    const inks = inksOf(hue);
    return (u, node) => {
      const shade = shades === null ? "" : inks[Math.max(0, Math.min(SHADES, Math.round(SHADES * scale.place(shades[u]))))];
      if (node.shade !== shade) node.style.backgroundColor = node.shade = shade;
      const bars = barred.map(({ at, reading, scale }, row) => pinBar(at, Math.max(0, Math.min(1, scale.place(reading.weights[u]))), row));
      const image = bars.map((bar) => bar.image).join();
      const key = image + bars.map((bar) => bar.size).join();
      if (node.bars !== key) {
        node.bars = key;
        Object.assign(node.style, { backgroundImage: image, backgroundSize: bars.map((bar) => bar.size).join(), backgroundPosition: bars.map((bar) => bar.position).join() });
      }
      const at = letters.get(u);
      const marks = [
        "text-token", part.units[u].isSpaced && "text-spaced", at !== undefined && "text-pinned", u === own && "text-at",
        left.has(u) && "text-left-out", found?.has(u) && "text-found", current?.role === part.role && current.unit === u && "text-current",
      ];
      const names = marks.filter(Boolean).join(" ");
      if (node.className !== names) node.className = names;
      if (at !== undefined) {
        node.dataset.pin = pinLetter(at);
        node.style.setProperty("--pin", pinHue(at));
      }
      if (node.ariaSelected !== String(at !== undefined)) node.ariaSelected = String(at !== undefined);
    };
  }

  // The shades of a hue from none to the strongest, which still leaves the letters legible.
  function inksOf(hue) {
    colours ??= hues();
    const at = Number(hue.match(/pin-(\d)/)?.[1] ?? -1);
    const colour = at >= 0 ? colours.pins[at] : hue.includes("--text-in") ? colours.in : colours.accent;
    colours.inks ??= new Map();
    if (!colours.inks.has(hue)) {
      const [r, g, b] = colour.match(/[\d.]+/g);
      colours.inks.set(hue, Array.from({ length: SHADES + 1 }, (_, step) => `rgba(${r}, ${g}, ${b}, ${((colours.most * step) / SHADES).toFixed(4)})`));
    }
    return colours.inks.get(hue);
  }

  function showHidden(list) {
    hiddenNote.hidden = list.length === 0;
    if (list.length === 0) return;
    const units = targetsOf("out");
    const words = list.slice(0, MOST_NAMED).flatMap(({ position, share, why }, i) => {
      const reason = why === "special" ? "" : why === "first" ? ", the first" : `, ${Math.round(100 * share)} % of all mass`;
      const unit = units[unitAt(units, position)];
      const isIn = unit !== undefined && position >= unit.start && position < unit.end;
      return [i ? "; " : "", ...(isIn ? unitName({ ...unit, start: position, end: position + 1 }) : nameAt(position)), reason];
    });
    const more = list.length > MOST_NAMED ? `; and ${whole(list.length - MOST_NAMED)} more` : "";
    hiddenNote.replaceChildren("Hidden: ", ...words, more, ". The rest of each row is renormalised to 1.");
  }

  function nameAt(position) {
    return unitName({ ...readTokens(context.layer().side.columns).show(position), start: position, end: position + 1 });
  }

  function scrolled() {
    for (const { list } of lists) list.render();
    redrawLines();
  }

  // Draws the lines with the next frame, once however often they changed; at once for a printer.
  function redrawLines() {
    if (context.isPrinting()) return linesNow();
    if (isWaiting) return undefined;
    isWaiting = true;
    return window.requestAnimationFrame(() => {
      isWaiting = false;
      linesNow();
    });
  }

  // The lines of the two columns: few and faint of all that is in view, strong of what is pointed at or pinned.
  function linesNow() {
    if (layoutName() !== "columns" || shown === null || !frame.element.isConnected) return;
    colours ??= hues();
    const [queries, keys] = [withRole("queries").list, withRole("keys").list];
    const view = frame.element;
    const inView = queries.unitsInView();
    faint.want(readings, inView);
    const { main, pinned } = shown;
    const isAlone = main.direction === "received";
    const groups = [{ colour: colours.muted, dash: [], opacity: isAlone ? 0.75 : 0.12, widest: 2, place: ({ weight }) => weight, lines: faint.of(inView) }];
    for (const { at, reading, scale } of pinned) {
      const isMain = reading === main;
      groups.push({ ...strong(reading, scale, colours.pins[at], isMain ? 0.01 : 0.1), opacity: isMain ? 0.95 : 0.6, dash: pinDash(at) });
    }
    if (!isAlone && !pinned.some(({ reading }) => reading === main)) groups.push(strong(main, shown.scale, main.direction === "in" ? colours.in : colours.accent));
    frame.canvas.style.height = `${view.clientHeight}px`;
    const stands = (list) => (unit) => list.middleOf(unit) - view.scrollTop;
    drawLines(frame.canvas, { left: stands(queries), right: stands(keys) }, groups);
  }

  function strong(reading, scale, colour, least = 0.01) {
    return { colour, dash: [], opacity: 0.95, widest: 4, place: ({ weight }) => scale.place(weight), lines: strongest(reading, least) };
  }

  // Colours of the style sheet for the canvas.
  function hues() {
    const probe = element("span", { hidden: true });
    root.append(probe);
    const of = (name) => {
      probe.style.color = `var(${name})`;
      return window.getComputedStyle(probe).color;
    };
    const most = parseFloat(window.getComputedStyle(root).getPropertyValue("--text-most")) / 100;
    const found = { muted: of("--muted"), most, accent: of("--accent"), in: of("--text-in"), pins: Array.from({ length: 6 }, (_, at) => of(`--text-pin-${at}`)) };
    probe.remove();
    return found;
  }

  function showFound(all, at) {
    hits = new Map(lists.map(({ role }) => [role, new Set()]));
    for (const { list, unit } of all) hits.get(list.role).add(unit);
    const hit = at < 0 ? null : all[at];
    current = hit && { role: hit.list.role, unit: hit.unit };
    if (hit === null) pointed = null;
    else {
      hit.list.list.centre(hit.unit);
      pointed = { direction: directionOf(hit.list), unit: hit.unit };
    }
    if (readings !== null) show();
  }

  function key(event) {
    if (event.key === "/" && !event.target.closest("input")) {
      search.focus();
      return true;
    }
    if (event.key === "Escape") return escape();
    const part = lists.find(({ list }) => list.element === event.target);
    if (part === undefined) return false;
    if (event.key === "Enter" || event.key === " ") {
      isByKey = true;
      togglePin(part, part.list.cursor());
      return true;
    }
    if (layoutName() === "columns" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) return cross(event.key === "ArrowLeft" ? 0 : 1);
    const unit = part.list.target(event.key);
    if (unit === null) return false;
    isByKey = true;
    part.list.moveTo(unit);
    point(part, unit);
    return true;
  }

  function cross(index) {
    lists[index].list.element.focus();
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
    const layer = context.layer();
    const all = pointed === null && pins.length ? pins : [wantedNow()];
    const rows = [];
    for (const { direction, unit } of all) {
      const reading = await readings.read(direction, unit);
      const name = headline(reading, namesOf(direction)).map((node) => (typeof node === "string" ? node : node.textContent)).join("");
      targetsOf(direction).forEach((target, u) => {
        if (!target.isGone) rows.push([name, target.start, target.text, reading.weights[u]]);
      });
    }
    return { name: `${layer.label}, ${context.headWords()}`, header: ["of", "position", "token", "weight"], rows };
  }

  return { element: root, draw, key, table };
}

function toggle(words, change) {
  const input = element("input", { type: "checkbox", on: { change: () => change(input.checked) } });
  return { element: element("label", { class: "text-toggle" }, input, element("span", { text: words })), show: (isOn) => (input.checked = isOn) };
}
