// A text view as it leaves the page: tokens with their shades as running text, or two columns with lines between them.
import { NAN_COLOR } from "./color.js";
import { percent } from "./format.js";
import { canvasPen } from "./pen.js";
import { isolated } from "./positions.js";
import { vectorCanvas } from "./svg-canvas.js";
import { pinLetter } from "./text-pins.js";
import { palette } from "./theme.js";

const [TITLE, HEADING, BAR, GAP] = [28, 24, 44, 12]; // heights in pixels
const BETWEEN = 260; // pixels between two columns
const SIZE = 15; // pixels of the type

// `lists` are { heading, role, lines }, where lines are [{ y, tokens: [{ u, x, width, unit }] }]; `shadeOf(role, u)` is a color
// or "", `pinOf(role, u)` a pin or undefined; `legend` are a shade for each step and the labels below; `connect(canvas,
// [left, right])` draws lines where two columns are given.
export function textSheet({ title, lists, height, shadeOf, pinOf, legend, connect }) {
  const colors = palette();
  const isColumns = connect !== null;
  const widths = lists.map(({ lines }) => Math.max(120, ...lines.flatMap(({ tokens }) => tokens.map(({ x, width }) => x + width + GAP))));
  const heights = lists.map(({ lines }) => (isColumns ? height : (lines.at(-1)?.y ?? 0) + height));
  const width = Math.max(320, isColumns ? widths[0] + BETWEEN + widths[1] : Math.max(...widths));
  const space = isColumns ? HEADING + Math.max(...heights) : heights.reduce((sum, high) => sum + high + (lists.length > 1 ? HEADING : 0), 0);
  const { canvas, element } = vectorCanvas(width, TITLE + space + BAR);
  const pen = canvasPen(canvas.getContext("2d"));
  pen.words(isolated(title), 0, 10, { color: colors.ink, size: 14, weight: 600, maxWidth: width });
  let y = TITLE;
  lists.forEach((list, i) => {
    const x = isColumns && i === 1 ? widths[0] + BETWEEN : 0;
    const end = isColumns && i === 0 ? widths[0] - 4 : null; // where queries end beside their keys
    if (lists.length > 1) pen.words(list.heading, end ?? x, y + 8, { color: colors.muted, align: end === null ? "left" : "right", maxWidth: isColumns ? widths[i] : width });
    const top = y + (lists.length > 1 ? HEADING : 0);
    drawTokens(pen, list, (token) => (end === null ? x + token.x : end - token.width), top, { shadeOf, pinOf, colors });
    if (!isColumns) y = top + heights[i];
  });
  if (isColumns) {
    const part = vectorCanvas(BETWEEN, Math.max(...heights));
    connect(part.canvas);
    canvas.getContext("2d").drawImage(part.element, widths[0], TITLE + HEADING, BETWEEN, Math.max(...heights));
  }
  drawLegend(pen, { y: TITLE + space + GAP, width: Math.min(width, 240) }, legend, colors);
  return element;
}

function drawTokens(pen, { role, lines }, leftOf, top, { shadeOf, pinOf, colors }) {
  for (const { y, tokens } of lines) {
    for (const token of tokens) {
      const { u, width, unit } = token;
      const box = { x: leftOf(token), y: top + y, width, height: 22 };
      fill(pen, box, shadeOf(role, u));
      const pin = pinOf(role, u);
      if (pin !== undefined) {
        pen.frame(box, { color: colors.ink, line: 1.5 });
        pen.words(pinLetter(pin.at), box.x + width - 3, box.y - 5, { color: colors.ink, size: 10, weight: 600 });
      }
      pen.words(isolated(unit.text), box.x + 3, box.y + 11, { color: colors.ink, size: SIZE, maxWidth: width });
    }
  }
}

// The shades from none to the strongest, with numbers below.
function drawLegend(pen, { y, width }, { shades, labels }, colors) {
  shades.forEach((shade, step) => fill(pen, { x: (step * width) / shades.length, y, width: width / shades.length, height: 8 }, shade));
  ["left", "center", "right"].forEach((align, i) => pen.words(percent(labels[i]), (i * width) / 2, y + 20, { color: colors.muted, size: 11, align }));
}

// A shade is "rgba(...)", which some programs that read SVG do not know: its opacity is written apart.
function fill(pen, box, shade) {
  if (shade === "") return;
  if (shade === NAN_COLOR) return pen.rect(box, { color: shade });
  const [r, g, b, alpha = 1] = shade.match(/[\d.]+/g).map(Number);
  if (alpha > 0) pen.rect(box, { color: `rgb(${r},${g},${b})`, alpha });
}
