// Every head of a layer, or of all layers that share its sides, small: each a button that chooses it.
import { makeScale } from "./color.js";
import { choice, element, userText } from "./dom.js";
import { percent } from "./format.js";
import { kindOf } from "./heads.js";
import { readShares } from "./key-weights.js";
import { clamp, hasModifier } from "./pointing.js";
import { rangeOf } from "./weights.js";

const SLICE = 8; // milliseconds of drawing before the page may answer
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// `layers` are those that share their sides; `isWide` draws ribbons below one another instead of pictures side by side;
// `aspect` is the shape of a picture; `start` is the first position that counts for colors;
// `paint(canvas, weights, scale, query)` draws one.
export function headPanel(context, { layers, isWide, aspect = null, start = 0, paint }) {
  const whole = element("div", { class: isWide ? "input-heads is-wide" : "input-heads" });
  const setScope = (key) => context.set({ multiples: key === "all" ? "all" : null });
  const scope = choice("Heads of", [["layer", "this layer"], ["all", "all layers"]], "layer", setScope);
  const body = element("div", { class: "input-multiples" }, layers.length > 1 ? scope.element : null, whole);
  const buttons = new Map(); // of each layer, one a choice of heads
  const inView = new WeakSet();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) inView.add(target);
      else inView.delete(target);
    }
    work();
  }, { rootMargin: "200px" });
  let wanted = [];
  let asked = { serial: 0, query: null };
  let isWorking = false;
  let next = 0;

  whole.addEventListener("keydown", (event) => {
    const button = wanted.find((one) => one.element === event.target);
    if (button === undefined || !(event.key in MOVES) || hasModifier(event)) return;
    event.preventDefault();
    const [down, right] = isWide ? [0, MOVES[event.key][0] + MOVES[event.key][1]] : MOVES[event.key];
    const shown = shownLayers();
    const row = clamp(shown.indexOf(button.layer) + down, shown.length);
    const cells = ofLayer(shown[row]);
    const to = cells[clamp(ofLayer(button.layer).indexOf(button) + right, cells.length)];
    pick(to);
    to.element.focus();
  });

  function shownLayers() {
    return context.state.multiples === "all" ? layers : layers.filter((layer) => layer.index === context.layer().index);
  }

  function ofLayer(layer) {
    if (!buttons.has(layer)) {
      const heads = Array.from({ length: layer.heads }, (_, head) => head);
      const cells = heads.map((head) => oneButton(layer, [head], layer.kind === "rollout" ? "" : `head ${head}`, kindOf(layer, head)));
      buttons.set(layer, layer.heads > 1 ? [oneButton(layer, heads, "mean", null), ...cells] : cells);
    }
    return buttons.get(layer);
  }

  function oneButton(layer, heads, name, kind) {
    const canvas = element("canvas", { "aria-hidden": "true", style: aspect === null ? {} : { aspectRatio: aspect } });
    const most = element("span", { class: "input-number" });
    const words = kind === null ? name : `${name}, ${kind}`;
    const button = element(
      "button",
      { type: "button", class: "input-head", title: words === "" ? layer.label : `${layer.label}, ${words}`, tabindex: "-1", on: { click: () => pick(made) } },
      canvas,
      element("span", { class: "input-under" }, element("span", { text: name }), most),
    );
    const made = { element: button, canvas, most, layer, heads, serial: -1 };
    observer.observe(button);
    return made;
  }

  function pick({ layer, heads }) {
    context.set({ layer: String(layer.index), head: heads.length === layer.heads && layer.heads > 1 ? "mean" : String(heads[0]) });
  }

  function build() {
    const shown = shownLayers();
    const cells = shown.flatMap(ofLayer);
    if (cells.length === wanted.length && cells.every((button, i) => button === wanted[i])) return;
    wanted = cells;
    next = 0;
    whole.replaceChildren(
      ...shown.map((layer) =>
        element(
          "div",
          { class: "input-layer", role: "group", "aria-label": layer.label },
          element("h3", {}, userText(layer.label, "bdi", { title: layer.name })),
          element("div", { class: "input-cells" }, ...ofLayer(layer).map((button) => button.element)),
        ),
      ),
    );
  }

  function mark() {
    const [layer, heads] = [context.layer(), context.heads().join()];
    let chosen = null;
    for (const button of wanted) {
      const isChosen = button.layer.index === layer.index && button.heads.join() === heads;
      button.element.setAttribute("aria-pressed", String(isChosen));
      button.element.tabIndex = -1;
      if (isChosen) chosen = button;
    }
    if (wanted.length > 0) (chosen ?? wanted[0]).element.tabIndex = 0;
  }

  // Draws those in view that are not as they should be, in turns, a few milliseconds at a time.
  async function work() {
    if (isWorking) return;
    isWorking = true;
    let since = performance.now();
    let numbers = [];
    try {
      for (let button = waiting(); button !== null; button = waiting()) {
        const { serial, query } = asked;
        const { weights } = await readShares(button.layer, button.heads, query);
        const { high, smallest } = rangeOf(weights, start);
        paint(button.canvas, weights, makeScale(context.state.scale, high, smallest), query);
        numbers.push([button.most, percent(high)]);
        button.serial = serial;
        if (performance.now() - since < SLICE || context.isPrinting()) continue;
        numbers = written(numbers);
        await new Promise((done) => window.requestAnimationFrame(done));
        since = performance.now();
      }
    } finally {
      written(numbers);
      isWorking = false;
    }
  }

  // Text after all pictures of a turn: between them it would make the browser lay out the page anew.
  function written(numbers) {
    for (const [label, text] of numbers) if (label.textContent !== text) label.textContent = text;
    return [];
  }

  function waiting() {
    for (let i = 0; i < wanted.length; i++) {
      const button = wanted[(next + i) % wanted.length];
      const isSeen = inView.has(button.element) || context.isPrinting();
      if (button.serial === asked.serial || !isSeen || !button.element.isConnected) continue;
      next = (next + i + 1) % wanted.length;
      return button;
    }
    return null;
  }

  return {
    element: body,
    draw(query) {
      scope.show(context.state.multiples === "all" ? "all" : "layer");
      build();
      mark();
      asked = { serial: asked.serial + 1, query };
      work();
    },
  };
}
