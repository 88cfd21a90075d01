// To be written.
import { element } from "./dom.js";

export function mapView(context) {
  return { element: element("div", { text: "map" }), draw() {}, key: () => false, table: () => null };
}
