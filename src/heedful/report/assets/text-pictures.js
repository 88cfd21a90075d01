// Pictures whose patches stand among the tokens of a text: beside the text, with the weights of their patches as colors.
import { colorBar } from "./color-bar.js";
import { makeScale } from "./color.js";
import { element, userText } from "./dom.js";
import { percent } from "./format.js";
import { aspectOf, drawShares } from "./input-patches.js";
import { rangeOf, sumOf } from "./weights.js";

const OPACITY = 0.7;

// `show(side, weights, kind)` shows the pictures of a side, given the weights of its positions.
export function textPictures() {
  const row = element("div", { class: "text-pictures" });
  let shown = null;
  let figures = [];
  return {
    element: row,
    show(side, weights, kind) {
      if (side !== shown) {
        shown = side;
        figures = (side.pictures ?? []).map(pictureFigure);
        row.replaceChildren(...figures.map((figure) => figure.element));
      }
      for (const figure of figures) figure.draw(weights, kind);
    },
  };
}

function pictureFigure(picture) {
  const [rows, columns] = picture.grid;
  const canvas = element("canvas", { role: "img", "aria-label": picture.name, style: { aspectRatio: aspectOf(picture.picture.shape) } });
  const share = element("span", { class: "note" });
  const bar = colorBar();
  return {
    element: element("figure", {}, element("figcaption", {}, userText(picture.name), " ", share), canvas, bar.element),
    draw(weights, kind) {
      const own = weights.subarray(picture.start, picture.start + rows * columns);
      const { high, smallest } = rangeOf(own);
      const scale = makeScale(kind, high, smallest);
      share.textContent = `${percent(sumOf(own))} in all`;
      bar.show(scale, "attention to a patch", percent);
      drawShares(canvas, picture, own, scale, OPACITY);
    },
  };
}
