// How tokens look: shades of weights, bars and letters of pins, and the marks of the pointer and of the search.
import { NAN_COLOR } from "./color.js";
import { element } from "./dom.js";
import { pinBar, pinHue, pinLetter } from "./text-pins.js";

const SHADES = 64;

// The colors of the style sheet as a view has them, for what is drawn on a canvas and for shades.
export function textColors(root) {
  const probe = element("span", { hidden: true });
  root.append(probe);
  const of = (name) => {
    probe.style.color = `var(${name})`;
    return window.getComputedStyle(probe).color;
  };
  const most = parseFloat(window.getComputedStyle(root).getPropertyValue("--text-most")) / 100;
  const colors = { muted: of("--muted"), accent: of("--accent"), in: of("--text-in"), pins: Array.from({ length: 6 }, (_, at) => of(`--text-pin-${at}`)) };
  probe.remove();
  const known = new Map();
  return {
    ...colors,
    // The shades of a hue from none to the strongest, which still leaves the letters legible.
    shadesOf(hue) {
      const at = Number(hue.match(/pin-(\d)/)?.[1] ?? -1);
      const color = at >= 0 ? colors.pins[at] : hue.includes("--text-in") ? colors.in : colors.accent;
      if (!known.has(hue)) {
        const [r, g, b] = color.match(/[\d.]+/g);
        known.set(hue, Array.from({ length: SHADES + 1 }, (_, step) => `rgba(${r}, ${g}, ${b}, ${((most * step) / SHADES).toFixed(4)})`));
      }
      return known.get(hue);
    },
  };
}

const hasWeightsOf = (role, direction) => role === "both" || role === (direction === "in" ? "queries" : "keys");
const standsIn = (role, direction) => role === "both" || role === (direction === "in" ? "keys" : "queries");

// The shade of a unit of a part: `shown` is what the view shows.
export function shadeOf(role, { main, scale, hue }, u, colors) {
  if (!hasWeightsOf(role, main.direction)) return "";
  const weight = main.weights[u];
  return Number.isNaN(weight) ? NAN_COLOR : colors.shadesOf(hue)[Math.max(0, Math.min(SHADES, Math.round(SHADES * scale.fraction(weight))))];
}

// The pin that stands at a unit of a part, if there is one.
export function pinAt(role, { pinned }, u) {
  return pinned.find(({ direction, unit }) => unit === u && standsIn(role, direction));
}

// Shows the tokens of a part as they are: `shown` is what the view shows, `matches` a set of units, `current` a unit or null.
export function tokenPainter({ role, units }, shown, { matches, current }, colors) {
  const { main, pinned, hidden } = shown;
  const barred = pinned.filter(({ direction }) => hasWeightsOf(role, direction));
  const letters = new Map(pinned.filter(({ direction }) => standsIn(role, direction)).map(({ unit, at }) => [unit, at]));
  const own = main.unit !== null && standsIn(role, main.direction) ? main.unit : null;
  const left = role === "queries" ? new Set() : hidden.units;
  return (u, node) => {
    const shade = shadeOf(role, shown, u, colors);
    if (node.shade !== shade) node.style.backgroundColor = node.shade = shade;
    const bars = barred.map((pin, row) => pinBar(pin.at, Math.max(0, Math.min(1, pin.scale.fraction(pin.reading.weights[u]))), row));
    const style = { backgroundImage: bars.map((bar) => bar.image).join(), backgroundSize: bars.map((bar) => bar.size).join(), backgroundPosition: bars.map((bar) => bar.position).join() };
    const key = style.backgroundImage + style.backgroundSize;
    if (node.bars !== key) {
      node.bars = key;
      Object.assign(node.style, style);
    }
    const at = letters.get(u);
    const marks = [
      "text-token", units[u].isSpaced && "text-spaced", at !== undefined && "text-pinned", u === own && "text-at",
      left.has(u) && "text-left-out", matches?.has(u) && "text-found", u === current && "text-current",
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
