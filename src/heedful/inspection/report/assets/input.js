// To be written.
import { element } from "./dom.js";

export function inputView(context) {
  return { element: element("div", { text: "input" }), draw() {}, key: () => false, table: () => null };
}
