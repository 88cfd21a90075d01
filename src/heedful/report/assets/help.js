// The dialog that says what can be done.
import { element } from "./dom.js";

const KEYS = [
  ["arrows", "move over the map, picture, curve or list that has the focus (Tab reaches it)"],
  ["Enter, click, tap", "keep what is pointed at, or open it; once more: let it go"],
  ["Esc", "let go; close"],
  ["[ ]", "layer before, layer after"],
  [", .", "head before, head after"],
  ["m", "the mean of all heads"],
  ["s", "next scale of the colours"],
  ["o", "overview of all layers and heads"],
  ["t", "attention on the input itself"],
  ["d", "compare with another head, and back to the map"],
  ["/", "search"],
  ["+ - 0", "larger, smaller, all of the map; Shift and arrows move it"],
  ["0 to 9", "that head (in the map, 0 is all of it)"],
  ["?", "this list"],
];
const NOTES = [
  "A key acts on the section that has the focus, or else on the one in the middle of the window. Layers are called by their names; heads, rows, columns and positions are counted from 0.",
  "Colours run from 0 to the number at the end of the bar beside them, or written below a small picture.",
  "A section holds all pairs, queries and keys from which rows are computed here, the largest weights of each row, or a map of means alone; what it does not hold is not shown. A saved file asks nothing of a network.",
];

export function helpButton() {
  const list = element("dl", { class: "keys" });
  for (const [key, words] of KEYS) list.append(element("dt", { text: key }), element("dd", { text: words }));
  const close = element("button", { type: "button", text: "Close", on: { click: () => dialog.close() } });
  const dialog = element(
    "dialog",
    { "aria-labelledby": "help-title" },
    element("h2", { id: "help-title", text: "How to look around" }),
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
