// The lists of tokens in a text view: one where queries and keys are the same tokens, else one of each; and their units.
import { element } from "./dom.js";
import { tokenList } from "./text-list.js";
import { readTokens } from "./text-tokens.js";
import { unitsOf } from "./text-units.js";

export const LINE = { flow: 32, columns: 28 }; // pixels

// `layout()` is "flow" or "columns"; `frame` holds two lists side by side. `act` is { point(part, unit or null),
// press(part, unit, event), focus(part), blur(part) }, where a part is { role: "both", "queries" or "keys", side, units, list }.
export function textLists(context, { layout, lineHeight, frame, act }) {
  const main = element("div", { class: "text-main" });
  let parts = [];
  let structure = "";
  let arranged = "";

  const isSelf = () => context.layer().rows === context.layer().columns;

  // Makes the lists where the sides or the layout changed, and fills them where their units or their width did. Returns
  // whether they were filled and whether their units are others than before, or null where nothing changed.
  function arrange() {
    const { state } = context;
    const layer = context.layer();
    const made = [layer.rows, layer.columns, layout()].join();
    const filled = [made, state.merge, state.hide, main.clientWidth].join();
    if (made !== structure) build(layer);
    if (filled === arranged) return null;
    const isOther = made !== structure || !arranged.startsWith([made, state.merge, ""].join());
    [structure, arranged] = [made, filled];
    for (const part of parts) {
      part.units = unitsOf(part.side, state.merge === "1");
      for (const unit of part.units) unit.isGone = state.hide === "1" && unit.isSpecial;
      const isWrapped = layout() === "flow";
      part.list.arrange(part.units, { isWrapped, isRightToLeft: isWrapped && readTokens(part.side).isRightToLeft, height: lineHeight() });
    }
    return { isOther };
  }

  function build(layer) {
    const roles = layout() === "columns" ? ["queries", "keys"] : isSelf() ? ["both"] : ["keys", "queries"];
    parts = roles.map((role) => makePart(role, role === "keys" ? layer.side.columns : layer.side.rows));
    if (layout() === "flow") {
      main.replaceChildren(...parts.map((part) => element("div", { class: `text-block${roles.length > 1 ? " text-half" : ""}` }, roles.length > 1 ? heading(part) : null, part.list.element)));
      return;
    }
    frame.show(parts[0].list.element, parts[1].list.element);
    main.replaceChildren(element("div", { class: "text-heads" }, ...parts.map(heading)), frame.element);
  }

  function makePart(role, side) {
    const label = role === "both" ? `${side.name}: tokens` : `${side.name}: ${role}`;
    const part = { role, side, units: [] };
    part.list = tokenList({
      label,
      scroller: layout() === "columns" ? frame.element : null,
      act: { point: (unit) => act.point(part, unit), press: (unit, event) => act.press(part, unit, event) },
    });
    part.list.element.addEventListener("focus", () => act.focus(part));
    part.list.element.addEventListener("blur", () => act.blur(part));
    return part;
  }

  const withRole = (role) => parts.find((part) => part.role === role || part.role === "both");

  return {
    element: main,
    all: () => parts,
    arrange,
    isSelf,
    withRole,
    // The units among which that of a reading stands, and those of which it has weights.
    namesOf: (direction) => withRole(direction === "in" ? "keys" : "queries")?.units ?? [],
    targetsOf: (direction) => withRole(direction === "in" ? "queries" : "keys")?.units ?? [],
    render() {
      for (const { list } of parts) {
        list.giveHeight(lineHeight());
        list.render(context.isPrinting());
      }
    },
  };
}

function heading({ role, side }) {
  return element("p", { class: "text-heading note" }, element("bdi", { dir: "auto", text: side.name }), role === "keys" ? ", keys" : ", queries");
}
