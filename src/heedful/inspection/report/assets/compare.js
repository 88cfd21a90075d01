// To be written.
import { element } from "./dom.js";

export function compareView(context) {
  return { element: element("div", { text: "compare" }), draw() {}, key: () => false, table: () => null };
}
