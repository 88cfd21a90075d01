// The dialog that says what can be done.
import { element } from "./dom.js";

const KEYS = [
  ["arrows", "move within the focused map, picture, curve or list (Tab moves the focus)"],
  ["Enter, click, tap", "pin or open what is pointed at; again: unpin"],
  ["Esc", "unpin; close"],
  ["[ ]", "previous layer, next layer"],
  [", .", "previous head, next head"],
  ["m", "mean of all heads"],
  ["s", "next color scale"],
  ["o", "overview of all layers and heads"],
  ["t", "attention on the input"],
  ["d", "compare with another head; again: back to the map"],
  ["/", "search"],
  ["+ - 0", "zoom in, zoom out, whole map; Shift and arrows move the map"],
  ["0 to 9", "that head (on the map, 0 shows the whole map)"],
  ["?", "this list"],
];
const NOTES = [
  "Keys act on the focused section, or else on the one in the middle of the window. Heads and positions are counted from 0.",
  "Colors run from 0 to the number at the end of the color bar, or below a small picture.",
  "A file holds all weights of a layer, or queries and keys from which this page computes them, or the largest weights of each row, or only a map of means. What it does not hold is not shown. A saved file makes no network requests.",
];

export function helpButton() {
  const list = element("dl", { class: "keys" });
  for (const [key, words] of KEYS) list.append(element("dt", { text: key }), element("dd", { text: words }));
  const close = element("button", { type: "button", text: "Close", on: { click: () => dialog.close() } });
  const dialog = element(
    "dialog",
    { "aria-labelledby": "help-title" },
    element("h2", { id: "help-title", text: "How to use this page" }),
    list,
    ...NOTES.map((text) => element("p", { text })),
    close,
  );
  document.body.append(dialog);
  const open = () => dialog.open || dialog.showModal();
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.closest("input[type=text], input[type=search], textarea");
    if (event.key === "?" && !typing) open();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return element("button", { type: "button", class: "quiet", text: "Help", "aria-keyshortcuts": "?", on: { click: open } });
}
