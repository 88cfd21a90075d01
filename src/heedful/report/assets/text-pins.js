// What is pinned: up to six tokens, each with a letter, a color and a pattern, held in the address as "3,k5".
import { element } from "./dom.js";
import { unitName } from "./text-readout.js";

const LETTERS = "ABCDEF";
const LEAST = 0.04; // of a token's width, from which its bar is drawn
const PATTERNS = [[], [7, 3], [2, 3], [10, 3, 2, 3], [4, 2], [12, 4]]; // dashes of lines and bars, in pixels

// The pins that a text names: { direction, position } or null where one was released. "3" is what query 3 looks at,
// "k5" is what looks at key 5.
export function readPins(text = "") {
  const found = text.split(",").slice(0, LETTERS.length).map((word) => word.match(/^(k?)(\d{1,9})$/));
  return found.map((match) => match && { direction: match[1] ? "in" : "out", position: Number(match[2]) });
}

// Pins as text; null where there are none.
export function writePins(pins) {
  const words = pins.map((pin) => (pin === null ? "" : `${pin.direction === "in" ? "k" : ""}${pin.position}`)).join(",");
  return words.replace(/,+$/, "") || null;
}

// The same pins, all in one direction.
export function turnedPins(text, direction) {
  return writePins(readPins(text).map((pin) => pin && { ...pin, direction }));
}

// Puts a pin into the first free slot; where there is none, it replaces the last.
export function withPin(pins, pin) {
  const free = pins.indexOf(null);
  const at = free >= 0 ? free : Math.min(pins.length, LETTERS.length - 1);
  return { at, pins: Object.assign([...pins], { [at]: pin }) };
}

export function pinLetter(at) {
  return LETTERS[at];
}

export function pinHue(at) {
  return `var(--text-pin-${at})`;
}

export function pinDash(at) {
  return PATTERNS[at];
}

// A bar under a token, as layers of a background: `share` of its width, the first bar at the bottom.
export function pinBar(at, share, row) {
  const [hue, dash] = [pinHue(at), PATTERNS[at]];
  if (share < LEAST) share = 0;
  const stops = [];
  let end = 0;
  dash.forEach((length, i) => stops.push(`${i % 2 ? "transparent" : hue} ${end}px ${(end += length)}px`));
  const image = dash.length ? `repeating-linear-gradient(90deg, ${stops.join(", ")})` : `linear-gradient(${hue}, ${hue})`;
  return { image, size: `${(100 * share).toFixed(1)}% 3px`, position: `left 0 bottom ${4 * row}px` };
}

// The list of what is pinned: a button that shows a pin, and one that releases it.
export function pinList({ show, release }) {
  const list = element("ul", { class: "text-pins", "aria-label": "Pinned" });
  return {
    element: list,
    // `pins` are { at, unit, direction }, `active` is the index of the one that is shown.
    show(pins, active) {
      if (pins.length === 0) return list.replaceChildren(element("li", { class: "note", text: "Click or tap a token to pin it." }));
      return list.replaceChildren(
        ...pins.map(({ at, unit, direction }) => {
          const swatch = element("span", { class: "text-swatch", "aria-hidden": "true" });
          const bar = pinBar(at, 1, 0);
          Object.assign(swatch.style, { backgroundImage: bar.image, backgroundSize: "100% 4px", backgroundPosition: "left bottom" });
          const main = element("button", { type: "button", "aria-pressed": String(at === active), class: "text-chip", on: { click: () => show(at) } });
          main.append(element("span", { class: "text-letter", text: pinLetter(at) }), swatch, element("span", {}, ...unitName(unit, 16), direction === "in" ? " is attended by" : " attends to"));
          const words = `Unpin ${pinLetter(at)}: ${[...unit.text].slice(0, 40).join("")}`;
          return element("li", {}, main, element("button", { type: "button", class: "text-release", "aria-label": words, text: "\u00d7", on: { click: () => release(at) } }));
        }),
      );
    },
  };
}
