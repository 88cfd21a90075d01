// The dialog that says what can be done.
import { element } from "./dom.js";

const KEYS = [
  ["arrows", "move over the picture or the map, when it has the focus (Tab reaches it)"],
  ["Enter, click, tap", "pin what is pointed at; on the pinned patch again: release it"],
  ["Esc", "release, back to the decision"],
  ["[ ]", "layer before, layer after"],
  [", .", "head before, head after"],
  ["0 to 9", "that head; m for the mean of all heads"],
  ["?", "this list"],
];
const NOTES = [
  "Layers are called by their names; heads, rows, columns and positions are counted from 0.",
  "Every small picture has its own colours, from 0 to the number below it. The bar beside the large one has the numbers.",
  "Attention rows are computed here, from the queries and keys in this file. The file asks nothing of a network.",
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
    const typing = event.target instanceof Element && event.target.closest("input[type=text], textarea");
    if (event.key === "?" && !typing) open();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return element("button", { type: "button", class: "quiet", text: "Help", "aria-keyshortcuts": "?", on: { click: open } });
}
