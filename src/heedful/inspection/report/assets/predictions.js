// The picture as it is, what the model says about it, and what is true.
import { element, given, percent } from "./dom.js";

export function predictionList(section) {
  const canvas = element("canvas", { class: "original", role: "img", "aria-label": "The picture in its own colours" });
  canvas.style.aspectRatio = `${section.picture.shape[1]} / ${section.picture.shape[0]}`;
  const list = element("ol", { class: "bars" });
  for (const { label, probability } of section.predictions) {
    list.append(
      element(
        "li",
        { class: label === section.truth ? "true" : null },
        element("span", { class: "label" }, given(label, "bdi", { title: label }), truthMark(label === section.truth)),
        element("span", { class: "value", text: percent(probability) }),
        element("span", { class: "bar" }, element("span", { style: { width: `${probability * 100}%` } })),
      ),
    );
  }
  const body = element("div", { class: "words" }, verdict(section), list.children.length > 0 ? list : null);
  return { element: element("div", { class: "predictions" }, canvas, body), canvas };
}

function truthMark(isTruth) {
  return isTruth ? element("span", { class: "chip", text: "truth" }) : null;
}

export function isRight(section) {
  const best = bestOf(section);
  return best === null || section.truth === null ? null : best.label === section.truth;
}

function bestOf({ predictions }) {
  return predictions.reduce((best, one) => (best === null || one.probability > best.probability ? one : best), null);
}

function verdict(section) {
  const best = bestOf(section);
  const line = element("p", { class: "verdict" });
  if (best !== null) line.append("Predicted ", given(best.label, "strong"));
  if (best !== null && isRight(section)) line.append(", which is right");
  else if (section.truth !== null) line.append(best === null ? "The truth is " : "; the truth is ", given(section.truth, "strong"));
  return line.childNodes.length > 0 ? line : null;
}
