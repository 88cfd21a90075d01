// Builds the page from its payload. A kind of section is a module; all of them stand in this table.
import { readAddress, writeAddress } from "./address.js";
import { attentionSection } from "./attend.js";
import { chartsSection } from "./charts.js";
import { element, userText } from "./dom.js";
import { helpButton } from "./help.js";
import { matrixSection } from "./matrix.js";
import { tableSection } from "./table.js";
import { themeButton } from "./theme.js";

// Each takes its part of the payload and returns { body, draw(), thumbnail(canvas) where there is one }.
const KINDS = { attention: attentionSection, charts: chartsSection, matrix: matrixSection, table: tableSection };
const AHEAD = "400px";

const payload = JSON.parse(document.getElementById("payload").textContent);
const printing = window.matchMedia("print");
let isPrinting = false;
const page = { isPrinting: () => isPrinting, sections: [] };
const parts = payload.sections.map(buildSection);

document.body.append(
  ...[header(), parts.length > 1 ? contents() : null].filter(Boolean),
  element("main", {}, ...parts.map((part) => part.element)),
  footer(),
);
watchPrinting();
watchSizes();
drawWhenNear();
if (readAddress().section !== null) goTo(readAddress().section);

function buildSection(section, index) {
  const id = `section-${index}`;
  const title = userText(section.title, "h2", { id: `${id}-title`, class: "long", tabindex: "-1" });
  const made = { id, section, title, isNear: false };
  try {
    Object.assign(made, KINDS[section.kind](section, page, id));
  } catch (error) {
    Object.assign(made, { body: failure(error), draw() {} });
  }
  made.element = element("section", { id, class: section.kind, "aria-labelledby": title.id }, title, made.body);
  return made;
}

function failure(error) {
  console.error(error);
  return element("p", { class: "failure", text: `This section cannot be shown: ${error.message}` });
}

function draw(part) {
  if (part.isNear) attempt(part, () => part.draw());
}

// A section that fails says so in its own place and leaves the others alone.
function attempt(part, act) {
  if (part.hasFailed) return;
  try {
    act();
  } catch (error) {
    part.hasFailed = true;
    part.body.replaceChildren(failure(error));
  }
}

function header() {
  const theme = themeButton(() => {
    parts.forEach(draw);
    for (const link of document.querySelectorAll("nav a")) link.hash = addressOf(link.dataset.section);
  });
  const about = element("dl", { class: "about" });
  for (const [name, value] of payload.about) about.append(element("div", {}, userText(name, "dt"), userText(value, "dd")));
  const buttons = element("div", { class: "buttons" }, theme.element, helpButton());
  theme.apply();
  return element("header", {}, element("div", { class: "top" }, userText(payload.title, "h1", { class: "long" }), buttons), about);
}

function footer() {
  const exact = payload.precision === "float32" ? "" : " Some are stored in half precision (about three digits).";
  const live = payload.sections.some((section) => section.live?.length > 0);
  const source = live ? "are computed by its server from queries and keys" : "come from this file, which makes no network requests";
  return element("footer", {}, element("p", { text: `All numbers on this page ${source}.${exact}` }));
}

// Whether the best prediction is the right answer; null where one of them is not known.
function isRight({ predictions = [], truth = null }) {
  return truth === null || predictions.length === 0 ? null : predictions[0].label === truth;
}

// The strip of links; a picture is its own sign.
function contents() {
  const links = parts.map((part) => {
    const canvas = part.thumbnail ? element("canvas", { class: "thumbnail", "aria-hidden": "true" }) : null;
    const right = isRight(part.section);
    const sign = right === null ? null : element("span", { class: right ? "sign right" : "sign wrong", text: right ? "correct" : "wrong" });
    const link = element(
      "a",
      { href: `#${addressOf(part.id)}`, "data-section": part.id, title: part.section.title },
      canvas,
      element("span", { class: "link-words" }, userText(part.section.title), sign),
    );
    link.addEventListener("click", (event) => {
      event.preventDefault();
      writeAddress({ section: part.id });
      goTo(part.id);
    });
    if (canvas !== null) whenNear(link, () => attempt(part, () => part.thumbnail(canvas)));
    return element("li", {}, link);
  });
  return element("nav", { "aria-label": "Sections" }, element("ol", {}, ...links));
}

function addressOf(section) {
  const theme = readAddress().theme;
  return theme === null ? section : `${section}&theme=${theme}`;
}

function goTo(id) {
  const part = parts.find((one) => one.id === id);
  if (part === undefined) return;
  part.element.scrollIntoView();
  part.title.focus({ preventScroll: true });
}

function whenNear(target, act) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      act();
    },
    { rootMargin: AHEAD },
  );
  observer.observe(target);
}

function drawWhenNear() {
  for (const part of parts) {
    whenNear(part.element, () => {
      part.isNear = true;
      draw(part);
    });
  }
}

// Draws a section again when its width changes; its height follows from what is drawn.
function watchSizes() {
  const widths = new WeakMap();
  const observer = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      if (widths.get(target) === contentRect.width) continue;
      widths.set(target, contentRect.width);
      draw(parts.find((part) => part.element === target));
    }
  });
  for (const part of parts) observer.observe(part.element);
}

// Paper is white and shows every section, also those that were never scrolled to.
function watchPrinting() {
  const prepare = (isNow) => {
    if (isPrinting === isNow) return;
    isPrinting = isNow;
    document.documentElement.classList.toggle("printing", isNow);
    for (const part of parts) {
      part.isNear ||= isNow;
      draw(part);
    }
  };
  window.addEventListener("beforeprint", () => prepare(true));
  window.addEventListener("afterprint", () => prepare(false));
  printing.addEventListener("change", (event) => prepare(event.matches));
}
