// A section that shows a model's attention: a bar of controls, and one of several views of the same data.
//
// A view is made by a function of the section's context and is { element, draw(), key(event), table() }: `draw` shows what
// the state says, `key` returns whether it took a key, `table` gives the numbers in view as { name, header, rows }.
// Its drawing for an export is an SVG made by `svg()`, or its `canvas`.
import { readAddress, writeAddress } from "./address.js";
import { NAN_COLOR, SCALES } from "./color.js";
import { compareView } from "./compare.js";
import { choice, element, long, picker, userText } from "./dom.js";
import { exportMenu } from "./export.js";
import { headsOf, headsText, kindOf, nameWithKind } from "./heads.js";
import { inputView } from "./input.js";
import { layersView } from "./layers.js";
import { mapView } from "./map.js";
import { overviewView } from "./overview.js";
import { drawPicture, openPicture } from "./picture.js";
import { clamp, hasModifier } from "./pointing.js";
import { openAttention } from "./store.js";
import { perFrame } from "./timing.js";

const VIEWS = {
  overview: ["Overview", overviewView],
  map: ["Map", mapView],
  input: ["Input", inputView],
  layers: ["Layers", layersView],
  compare: ["Compare", compareView],
};

// What an address may set, as text; each view reads and checks what is its own.
const DEFAULTS = { view: "overview", layer: "0", head: "mean", scale: "sqrt" };
const CHOICES = { view: Object.keys(VIEWS), scale: SCALES.map(([kind]) => kind) };

const MOST_ANSWERS = 5;

// What a section shows: what the address says of it, and defaults for what it leaves out or there is not.
function stateOf(view, defaults) {
  const state = { ...defaults, ...view };
  for (const [name, words] of Object.entries(CHOICES)) if (!words.includes(state[name])) state[name] = DEFAULTS[name];
  return state;
}

export function attentionSection(section, page, id) {
  const samples = [section, ...section.samples];
  const opened = new Map(); // by sample
  const defaults = { ...DEFAULTS, ...section.opens };
  const state = stateOf(readAddress().section === id ? readAddress().view : {}, defaults);
  const { layers, axes } = here();
  const status = long(element("p", { class: "readout", role: "status", "aria-live": "polite" }));
  const context = {
    id,
    get section() {
      return samples[sample()];
    },
    get layers() {
      return here().layers;
    },
    get axes() {
      return here().axes;
    },
    state,
    pages: page.sections,
    isPrinting: page.isPrinting,
    layer: () => here().layers[index(state.layer, here().layers.length)],
    heads: () => headsOf(context.layer(), state.head),
    headsText: () => headsText(context.layer(), state.head),
    set,
    say(...words) {
      said.set(state.view, words);
      status.replaceChildren(...words);
    },
  };
  page.sections.push(context);

  const views = new Map();
  const said = new Map(); // by view: the status line belongs to the one that is shown
  const stage = element("div", { class: "attend-stage" });
  const tabs = choice("View", Object.entries(VIEWS).map(([key, [words]]) => [key, words]), state.view, (view) => set({ view }));
  const sampleOptions = samples.map((_, at) => [String(at), String(at)]);
  const samplePicker = samples.length > 1 ? picker("Sample", sampleOptions, (at) => set({ sample: at === "0" ? null : at }), { "aria-label": "Sample" }) : null;
  const lead = userText(section.text, "p", { class: "lead" });
  let drawnSample = sample();
  const layerOptions = layers.map((layer, i) => [String(i), nameWithKind(layer)]);
  const layerPicker = picker("Layer", layerOptions, (layer) => set({ layer }), { "aria-label": "Layer" });
  const headPicker = picker("Head", [], (head) => set({ head }), { "aria-label": "Head" });
  const nan = element("p", { class: "note attend-nan" });
  const scale = choice("Colors", SCALES, state.scale, (kind) => set({ scale: kind }));
  const body = element(
    "div",
    { class: "attend" },
    samples.some(({ text }) => text) ? lead : null,
    answer(section),
    element(
      "div",
      { class: "attend-bar" },
      tabs.element,
      samplePicker?.element,
      layerPicker.element,
      headPicker.element,
      scale.element,
      exportMenu(context, () => current()),
    ),
    nan,
    stage,
    status,
  );
  body.addEventListener("keydown", onKey);
  // Where nothing has the focus, keys are for the section in the middle of the window, or the only one.
  document.addEventListener("keydown", (event) => {
    if (event.target !== document.body) return;
    const { top, bottom } = body.getBoundingClientRect();
    const middle = window.innerHeight / 2;
    if (page.sections.length === 1 || (top <= middle && bottom > middle)) onKey(event);
  });
  let wasDrawn = false;
  const drawSoon = perFrame(draw);

  function sample() {
    return index(state.sample ?? "0", samples.length);
  }

  // The layers and axes of the sample that is shown.
  function here() {
    if (!opened.has(sample())) opened.set(sample(), openAttention(samples[sample()]));
    return opened.get(sample());
  }

  // Views are made of one sample's layers: of another they are others.
  function changeSample() {
    if (drawnSample === sample()) return;
    drawnSample = sample();
    views.clear();
    said.clear();
  }

  function current() {
    if (!views.has(state.view)) views.set(state.view, VIEWS[state.view][1](context));
    return views.get(state.view);
  }

  // Changes the state, draws with the next frame, and writes the address, so that the view can be sent to somebody.
  function set(change, { silent = false } = {}) {
    Object.assign(state, change);
    for (const [name, value] of Object.entries(change)) if (value === null) delete state[name];
    if (!silent) writeAddress({ section: id, view: Object.fromEntries(Object.entries(state).filter(([name, value]) => value !== defaults[name])) });
    if (wasDrawn) drawSoon();
  }

  function draw() {
    wasDrawn = true;
    changeSample();
    samplePicker?.show(String(sample()));
    lead.textContent = context.section.text;
    const layer = context.layer();
    tabs.show(state.view);
    layerPicker.show(String(layer.index));
    const options = ["mean", ...Array.from({ length: layer.heads }, (_, head) => String(head))];
    if (!options.includes(state.head) && headsOf(layer, state.head).length > 1) options.push(state.head);
    headPicker.setOptions(options.map((head) => [head, optionText(layer, head)]));
    headPicker.element.hidden = layer.kind === "rollout";
    headPicker.show(options.includes(state.head) ? state.head : "mean");
    scale.show(state.scale);
    nan.hidden = layer.nan === "";
    nan.replaceChildren(element("span", { class: "attend-swatch", "aria-hidden": "true", style: { backgroundColor: NAN_COLOR } }), ` NaN in ${layer.label}: ${layer.nan}.`);
    const view = current();
    if (stage.firstChild !== view.element) {
      stage.replaceChildren(view.element);
      status.replaceChildren(...(said.get(state.view) ?? []));
    }
    Promise.resolve(view.draw()).catch((error) => status.replaceChildren(`This view cannot be shown: ${error.message}`));
  }

  function onKey(event) {
    if (hasModifier(event)) return;
    const typing = event.target.closest("input[type=text], input[type=search], textarea, select");
    if (typing && event.key !== "Escape") return;
    if (current().key?.(event) || ownKey(event)) event.preventDefault();
  }

  function ownKey(event) {
    const [layer, heads] = [context.layer(), context.heads()];
    if (event.key === "[" || event.key === "]") set({ layer: String(clamp(layer.index + (event.key === "]" ? 1 : -1), layers.length)) });
    else if (event.key === "," || event.key === ".") {
      const at = state.head === "mean" ? -1 : heads[0];
      const next = Math.max(-1, Math.min(layer.heads - 1, at + (event.key === "." ? 1 : -1)));
      set({ head: next < 0 ? "mean" : String(next) });
    } else if (event.key === "m") set({ head: "mean" });
    else if (event.key === "s") set({ scale: SCALES[(SCALES.findIndex(([kind]) => kind === state.scale) + 1) % SCALES.length][0] });
    else if (event.key === "d") set({ view: state.view === "compare" ? "map" : "compare" });
    else if (event.key === "t") set({ view: "input" });
    else if (event.key === "o") set({ view: "overview" });
    else if (/^\d$/.test(event.key) && Number(event.key) < layer.heads) set({ head: event.key });
    else return false;
    return true;
  }

  window.addEventListener("hashchange", () => {
    const address = readAddress();
    if (address.section !== id) return;
    for (const name of Object.keys(state)) delete state[name];
    set(stateOf(address.view, defaults), { silent: true });
  });
  const picture = axes.find((axis) => axis.kind === "picture");
  const thumbnail = picture && ((canvas) => drawPicture(canvas, openPicture(picture.picture)));
  return { body, draw, thumbnail };
}

function answer(section) {
  if (section.output === null && section.predictions.length === 0) return null;
  const list = element("dl", { class: "answer" });
  const add = (name, value) => list.append(element("div", {}, element("dt", { text: name }), userText(value, "dd")));
  if (section.output !== null) add("model output", section.output);
  for (const { label, probability } of section.predictions.slice(0, MOST_ANSWERS)) add(`${(100 * probability).toFixed(1)} %`, label);
  if (section.truth !== null) add("correct answer", section.truth);
  return list;
}

function optionText(layer, head) {
  if (head === "mean") return layer.heads === 1 ? "only head" : `mean of ${layer.heads}`;
  const kind = kindOf(layer, Number(head));
  return kind === null ? head : `${head}: ${kind}`;
}

function index(words, length) {
  const at = Number(words);
  return Number.isInteger(at) && at >= 0 && at < length ? at : 0;
}
