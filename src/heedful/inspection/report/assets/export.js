// To be written.
import { element } from "./dom.js";

export function exportMenu(context, view) {
  return element("div", { class: "export" });
}
