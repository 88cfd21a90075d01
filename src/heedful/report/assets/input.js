// Attention on the input itself: on the picture, over the sound, at the words. The sides of a layer say how it is shown.
import { element } from "./dom.js";
import { isChart, pairView } from "./input-pair.js";
import { textView } from "./text.js";

const WORDS = ["text", "positions"];

export function inputView(context) {
  const host = element("div", { class: "input" });
  const views = new Map();
  let ofWords = null; // one view of all layers that have words, or bare positions, on both sides

  function current() {
    const layer = context.layer();
    const { rows, columns } = layer.side;
    if (WORDS.includes(rows.kind) && WORDS.includes(columns.kind) && !isChart(layer)) return (ofWords ??= textView(context));
    const key = [layer.rows, layer.columns, layer.queries, layer.keys].join();
    if (!views.has(key)) views.set(key, pairView(context, layer));
    return views.get(key);
  }

  return {
    element: host,
    draw() {
      const view = current();
      if (host.firstChild !== view.element) host.replaceChildren(view.element);
      view.draw();
    },
    key: (event) => current().key?.(event) ?? false,
    table: () => current().table(),
    get canvas() {
      return current().canvas;
    },
    get svg() {
      const view = current();
      return view.svg && (() => view.svg());
    },
  };
}
