// A section that is a table: columns of numbers stand to the right.
import { element, userText } from "./dom.js";
import { precise } from "./format.js";

const NUMBER_LIKE = /^[<>~±+\-−]?\s?\d[\d.,]*(e[+-]?\d+)?(\s?±\s?[\d.,]+)?\s?(%|[a-zA-Zµ]{1,3})?$/;

export function tableSection(section) {
  const isRight = section.header.map((_, column) => {
    const cells = section.rows.map((row) => row[column]).filter((value) => value !== null && value !== "");
    return cells.length > 0 && cells.every((value) => typeof value === "number" || NUMBER_LIKE.test(String(value)));
  });
  const cell = (tag, text, column, scope) =>
    element(tag, { scope, class: isRight[column] ? "right" : null }, userText(text, "div", { class: "cell" }));
  const head = section.header.map((name, column) => cell("th", name, column, "col"));
  const rows = section.rows.map((row) => {
    const cells = row.map((value, column) => cell(column === 0 ? "th" : "td", cellText(value), column, column === 0 ? "row" : null));
    return element("tr", {}, ...cells);
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...rows));
  const body = element(
    "div",
    { class: "table" },
    section.text ? userText(section.text, "p", { class: "lead" }) : null,
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${section.title}` }, table),
    section.caption ? userText(section.caption, "p", { class: "note" }) : null,
  );
  return { body, draw() {} };
}

function cellText(value) {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? precise(value) : value;
}
