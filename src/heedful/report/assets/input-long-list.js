// A list of any length, of which only the part in view exists.
import { element, userText } from "./dom.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { positionText, shortened } from "./positions.js";

const HEIGHT = 28; // pixels of one line
const AROUND = 6; // lines beyond the edges
const MOST_HEIGHT = 8_000_000; // pixels that every browser can scroll through
const STEPS = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10 };

let lists = 0;

export function longList(side, { label, act }) {
  const id = `input-list-${lists++}`;
  const count = side.count;
  const whole = Math.min(count * HEIGHT, MOST_HEIGHT);
  const spacer = element("div", { class: "input-lines", role: "presentation", style: { height: `${whole}px` } });
  const list = element("div", { class: "input-list", role: "listbox", tabindex: "0", "aria-label": label }, spacer);
  const marks = { shown: null, pinned: null };
  const lines = new Map();
  const reach = () => Math.max(1, list.clientHeight);
  // Lines stand a whole height apart; in a list higher than browsers can scroll, the bar moves by more than a line.
  const firstLine = () => {
    const scrollable = whole - reach();
    return scrollable <= 0 ? 0 : (list.scrollTop / scrollable) * Math.max(0, count - reach() / HEIGHT);
  };

  list.addEventListener("scroll", fill);
  watchPointer(list, positionOf, act, "pointerover");
  list.addEventListener("keydown", (event) => {
    if (hasModifier(event)) return;
    const from = act.current();
    if (event.key in STEPS) move(from === null ? 0 : from + STEPS[event.key]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(count - 1);
    else if (event.key === "Enter" || event.key === " ") act.pick(from ?? 0);
    else return;
    event.preventDefault();
  });

  function positionOf(event) {
    const line = event.target.closest?.("[data-at]");
    return line ? Number(line.dataset.at) : null;
  }

  function move(to) {
    const position = clamp(to, count);
    act.point(position);
    bringIntoView(position);
  }

  function bringIntoView(position) {
    const held = reach() / HEIGHT;
    const first = firstLine();
    const wanted = position < first ? position : position + 1 > first + held ? position + 1 - held : null;
    if (wanted !== null) list.scrollTop = (wanted / Math.max(1e-9, count - held)) * (whole - reach());
    fill();
  }

  function fill() {
    const first = firstLine();
    const from = Math.max(0, Math.floor(first) - AROUND);
    const to = Math.min(count, Math.ceil(first + reach() / HEIGHT) + AROUND);
    for (const [position, line] of lines) {
      if (position >= from && position < to) continue;
      line.remove();
      lines.delete(position);
    }
    for (let position = from; position < to; position++) {
      if (!lines.has(position)) lines.set(position, spacer.appendChild(oneLine(position)));
      const line = lines.get(position);
      line.style.transform = `translateY(${list.scrollTop + (position - first) * HEIGHT}px)`;
      line.setAttribute("aria-selected", String(position === marks.pinned));
      line.classList.toggle("is-shown", position === marks.shown);
    }
    const active = act.current();
    if (active !== null && lines.has(active)) list.setAttribute("aria-activedescendant", `${id}-${active}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function oneLine(position) {
    return element(
      "div",
      {
        class: "input-line", role: "option", id: `${id}-${position}`, "data-at": String(position),
        "aria-posinset": String(position + 1), "aria-setsize": String(count),
      },
      element("span", { class: "input-number", text: String(position) }),
      userText(shortened(positionText(side, position), 120)),
    );
  }

  let wasShown = false;
  return {
    element: list,
    draw({ shown, pinned }) {
      Object.assign(marks, { shown, pinned });
      if (!wasShown && pinned !== null && list.clientHeight > 0) bringIntoView(pinned);
      wasShown ||= list.clientHeight > 0;
      fill();
    },
  };
}
