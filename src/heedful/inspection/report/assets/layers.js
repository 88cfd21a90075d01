// To be written.
import { element } from "./dom.js";

export function layersView(context) {
  return { element: element("div", { text: "layers" }), draw() {}, key: () => false, table: () => null };
}
