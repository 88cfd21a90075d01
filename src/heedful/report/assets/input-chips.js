// Positions as words in a row of buttons: each can be chosen, and shows how much it is given.
import { element, userText } from "./dom.js";
import { percent } from "./format.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { positionLabel, positionText, shortened } from "./positions.js";

const MOST_SHOWN = 400; // letters of one token on its button
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

// Shows the positions of `side` from `start` to `end`. `act` is { current(), point(position), pick(position) }.
// `withNumbers` writes the shares beside the words; `isChosen` says that a chip can be pinned.
export function chipRow(side, { start = 0, end = side.count, label, act, isChosen, withNumbers = false }) {
  const chips = Array.from({ length: end - start }, (_, i) => oneChip(side, start + i, isChosen, withNumbers));
  const row = element("div", { class: "input-chips", role: "group", "aria-label": label }, ...chips.map((chip) => chip.element));
  let reached = 0;
  let isByKey = false;
  const positionOf = (event) => {
    const at = chips.findIndex((chip) => chip.element.contains(event.target));
    return at < 0 ? null : start + at;
  };
  reach(0);

  watchPointer(row, positionOf, act, "pointerover");
  row.addEventListener("focusin", (event) => {
    const position = positionOf(event);
    reach(position - start);
    if (isByKey) act.point(position);
    isByKey = false;
  });
  row.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS) || hasModifier(event)) return;
    event.preventDefault();
    isByKey = true;
    chips[clamp(reached + STEPS[event.key], chips.length)].element.focus();
  });

  // One chip is reached by Tab, the others from it by the arrows.
  function reach(index) {
    if (chips[reached]) chips[reached].element.tabIndex = -1;
    reached = index;
    if (chips[reached]) chips[reached].element.tabIndex = 0;
  }

  return {
    element: row,
    draw({ weights, isHeld, most, fraction, shown, pinned, probe }) {
      chips.forEach((chip, i) => {
        const position = start + i;
        if (isChosen) chip.element.setAttribute("aria-pressed", String(position === pinned));
        chip.element.classList.toggle("is-shown", position === shown);
        chip.element.classList.toggle("is-probed", position === probe);
        if (weights === null) return;
        chip.bar.style.transform = `scaleX(${most > 0 ? Math.min(1, weights[position] / most) : 0})`;
        chip.element.style.setProperty("--tint", `${Math.round(40 * (fraction?.(weights[position]) ?? 0))}%`);
        if (withNumbers) chip.number.textContent = isHeld(position) ? percent(weights[position]) : "\u2013";
      });
    },
  };
}

function oneChip(side, position, isChosen, withNumbers) {
  const text = positionText(side, position);
  const bar = element("span", { class: "input-fill" });
  const number = withNumbers ? element("span", { class: "input-number" }) : null;
  const button = element(
    "button",
    {
      type: "button",
      class: side.special?.includes(position) ? "input-chip is-special" : "input-chip",
      title: text.length > 24 ? shortened(text, MOST_SHOWN) : null,
      "aria-label": withNumbers ? null : `${positionLabel(side, position)}, position ${position}`,
      "aria-pressed": isChosen ? "false" : null,
      tabindex: "-1",
    },
    element("span", { class: "input-word" }, userText(shortened(text, MOST_SHOWN)), number),
    element("span", { class: "input-share", "aria-hidden": "true" }, bar),
  );
  return { element: button, bar, number };
}
