// To be written.
import { element } from "./dom.js";

export function overviewView(context) {
  return { element: element("div", { text: "overview" }), draw() {}, key: () => false, table: () => null };
}
