// The search in a text: a box, a count, and where it found something.
import { element } from "./dom.js";
import { whole } from "./format.js";

// `read()` gives the lists to search, `found(hits, current)` is called with hits { list, unit } and the index of the current one.
export function textSearch({ read, found, leave }) {
  let hits = [];
  let current = -1;
  const count = element("span", { class: "text-count note", "aria-live": "polite" });
  const input = element("input", {
    type: "search",
    placeholder: "Find a token",
    "aria-label": "Find a token; a number behind # is a position",
    "aria-keyshortcuts": "/",
    on: { input: () => look(), keydown: onKey },
  });
  const step = (words, sign, by) => element("button", { type: "button", class: "text-step", "aria-label": words, text: sign, on: { click: () => move(by) } });
  const before = step("Previous match", "\u2191", -1);
  const after = step("Next match", "\u2193", 1);
  const box = element("div", { class: "text-search", role: "search" }, input, before, after, count);
  tell();

  function look() {
    const words = input.value.trim().toLowerCase();
    const position = /^#\d+$/.test(words) ? Number(words.slice(1)) : null;
    hits = [];
    if (words !== "") {
      for (const list of read()) {
        list.units.forEach((unit, u) => {
          if (unit.isGone) return;
          if (position === null ? unit.text.toLowerCase().includes(words) : position >= unit.start && position < unit.end) hits.push({ list, unit: u });
        });
      }
    }
    current = hits.length ? 0 : -1;
    tell();
    found(hits, current);
  }

  function move(by) {
    if (hits.length === 0) return;
    current = (current + by + hits.length) % hits.length;
    tell();
    found(hits, current);
  }

  function tell() {
    count.textContent = input.value.trim() === "" ? "" : hits.length ? `${whole(current + 1)} of ${whole(hits.length)}` : "none";
    before.disabled = after.disabled = hits.length < 2;
  }

  function onKey(event) {
    if (event.key === "Enter") move(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return {
    element: box,
    focus() {
      input.focus();
      input.select();
    },
    // Searches again, in lists that were made anew.
    again() {
      if (input.value.trim() !== "") look();
    },
  };
}
