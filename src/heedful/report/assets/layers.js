// All layers at once: a number of every head, what positions receive, attention followed through the layers, kinds of heads.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, positionLabel, positionTicks } from "./axes.js";
import { makeScale } from "./colour.js";
import { drawCurve } from "./curve.js";
import { dotsPlot, dotWords, groupsOf, NUMBER_NAMES, numbersOf } from "./dots.js";
import { element, number } from "./dom.js";
import { cellBox, drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { kindsList } from "./kinds.js";
import { headsText, isolated, spotNodes } from "./naming.js";
import { cellUnder, watchGrid } from "./pointing.js";
import { profileFigure, profileOf, topList } from "./profiles.js";
import { cellStart } from "./store.js";
import { palette } from "./theme.js";
import { vectorCanvas } from "./vector.js";

const SHEET = { width: 860, plot: 280, curve: 190, title: 30 }; // of an export

export function layersView(context) {
  const layers = context.layers.filter((layer) => layer.kind !== "rollout");
  const followed = context.layers.find((layer) => layer.kind === "rollout") ?? null;
  const numbers = numbersOf(layers);
  const by = () => (numbers.includes(context.state.by) ? context.state.by : numbers[0]);
  const openMap = (layer, head) => context.set({ view: "map", layer: String(layer.index), head: String(head) });

  const plot = dotsPlot(context, layers, {
    by,
    pick: (layer, head) => context.set({ layer: String(layer.index), head: String(head) }),
    told(layer, head) {
      reading.textContent = layer === null ? "" : dotWords(layer, head, by());
      context.say(reading.textContent);
    },
  });
  const reading = element("span", { class: "layers-reading", "aria-hidden": "true" });
  const picker = element("select", { "aria-label": "Number of a head", on: { change: () => context.set({ by: picker.value }) } });
  for (const name of numbers) picker.append(element("option", { value: name, text: NUMBER_NAMES[name] }));
  const profiles = { received: profileFigure(context, "received"), entropy: profileFigure(context, "entropy") };
  const most = topList();
  const heading = element("h3");
  const rollout = followed === null ? null : rolloutPart(context, followed, openMap);
  const shown = { key: null, serial: 0 };

  const body = element(
    "div",
    { class: "layers" },
    numbers.length === 0
      ? element("p", { class: "note", text: "The file holds no numbers of single heads." })
      : element("div", { class: "layers-part" }, element("div", { class: "layers-head-line" }, element("h3", { text: "Heads by layer" }), picker, reading), plot.element, legend(layers)),
    element(
      "div",
      { class: "layers-part" },
      heading,
      element("div", { class: "layers-profiles" }, element("div", { class: "layers-curves" }, profiles.received.element, profiles.entropy.element), most.element),
    ),
    rollout?.element,
    element("div", { class: "layers-part" }, kindsList(layers, openMap)),
  );

  // Shows the curves of the chosen heads once they are there, unless others were chosen meanwhile.
  async function showProfiles() {
    const [layer, heads] = [context.layer(), context.heads()];
    const key = `${layer.index}:${heads.join()}`;
    if (shown.key === key) return;
    shown.key = key;
    const serial = ++shown.serial;
    const words = headsText(layer, context.state.head);
    const [received, entropy] = await Promise.all(["received", "entropy"].map((name) => profileOf(layer, heads, name)));
    if (serial !== shown.serial) return;
    heading.textContent = `Along the positions: ${words}`;
    profiles.received.show({ values: received, layer, words });
    profiles.entropy.show({ values: entropy, layer, words });
    most.show({ values: received, layer });
    for (const profile of Object.values(profiles)) profile.draw();
  }

  function draw() {
    if (numbers.length > 0) {
      picker.value = by();
      plot.draw();
    }
    for (const profile of Object.values(profiles)) profile.draw();
    rollout?.draw();
    showProfiles().catch((error) => context.say(`The curves cannot be shown: ${error.message}`));
  }

  return {
    element: body,
    draw,
    key: () => false,
    async svg() {
      await showProfiles();
      return sheet({ plot: numbers.length > 0 ? plot : null, by: by(), profiles, heading: heading.textContent, rollout });
    },
    table: () => tableOf(layers),
  };
}

function legend(layers) {
  const groups = groupsOf(layers);
  const lines = ["solid", "dashed", "dotted", "dash and dot"];
  const words = groups.length === 1 ? "" : ` The line of ${groups.map((group, i) => `${group}: ${lines[i % lines.length]}`).join("; ")}.`;
  return element("p", { class: "note", text: `Each dot is a head, in the order of their numbers; the line is their mean. Choose a dot to see its curves below.${words}` });
}

// One row a head, with all of its numbers.
function tableOf(layers) {
  const names = numbersOf(layers);
  const rows = layers.flatMap((layer) =>
    Array.from({ length: layer.heads }, (_, head) => [
      layer.index,
      layer.label,
      layer.name,
      layer.kind,
      head,
      layer.kinds[head] ?? "",
      ...names.map((name) => layer.numbers[name]?.[head] ?? null),
    ]),
  );
  return { name: "heads", header: ["layer", "label", "module", "attention", "head", "kind", ...names], rows };
}

// Attention followed through all layers: its map, and what each position receives by it.
function rolloutPart(context, layer, openMap) {
  const canvas = element("canvas", {
    class: "layers-map",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "map of a matrix",
    "aria-label": "Attention followed through all layers. Arrow keys move from cell to cell, Enter opens the map.",
  });
  const curve = element("canvas", { class: "layers-curve", role: "img", "aria-label": "What each key receives by the rollout" });
  const nearby = element("p", { class: "layers-reading", "aria-hidden": "true" });
  const most = topList();
  const facts = layer.facts.map(([name, value]) => `${name} ${value}`).join("; ");
  const [queries, keys] = [layer.queries, layer.keys];
  let grid = null;
  let received = null;
  let box = null;
  let cell = null;

  const handlers = {
    rows: 1,
    columns: 1,
    locate: (x, y) => (box === null ? null : cellUnder(box, grid.rows, grid.columns, x, y)),
    current: () => cell,
    point: (there) => {
      if (there?.row === cell?.row && there?.column === cell?.column) return;
      cell = there;
      context.say(...(cell === null ? [] : reading()));
      nearby.replaceChildren(...(cell === null ? [] : reading()));
      draw();
    },
    pick: () => openMap(layer, 0),
    release: () => handlers.point(null),
  };
  watchGrid(canvas, handlers);

  function reading() {
    const [top, bottom] = [cell.row, cell.row + 1].map((at) => cellStart(at, grid.rows, queries));
    const [left, right] = [cell.column, cell.column + 1].map((at) => cellStart(at, grid.columns, keys));
    const many = bottom - top > 1 ? "queries " : "query ";
    const value = number(grid.values[cell.row * grid.columns + cell.column]);
    return ["rollout, ", many, ...spotNodes(layer.side.rows, top, bottom), right - left > 1 ? " to keys " : " to key ", ...spotNodes(layer.side.columns, left, right), `: ${value}`];
  }

  const ready = Promise.all([layer.map([0]), profileOf(layer, [0], "received")]).then(([map, values]) => {
    [grid, received] = [map, values];
    [handlers.rows, handlers.columns] = [map.rows, map.columns];
    most.show({ values, layer });
    draw();
  });
  ready.catch((error) => context.say(`The rollout cannot be shown: ${error.message}`));

  function drawOn(surface, mark) {
    const open = openCanvas(surface);
    if (open === null || grid === null) return null;
    const colours = palette();
    const plotted = plotBox(open.width, open.height);
    const positive = grid.values.filter((value) => value > 0);
    const least = positive.reduce((low, value) => Math.min(low, value), Infinity);
    const scale = makeScale(context.state.scale, grid.values.reduce((high, value) => Math.max(high, value), 0), least);
    open.context.imageSmoothingEnabled = false;
    open.context.drawImage(paintGrid(grid.values, 0, grid.rows, grid.columns, scale), plotted.x, plotted.y, plotted.width, plotted.height);
    drawBoxLine(open.context, plotted, colours);
    drawBottomAxis(open.context, plotted, positionTicks(keys, plotted.width), (p) => p / keys, positionLabel, colours, "key");
    drawLeftAxis(open.context, plotted, positionTicks(queries, plotted.height), (p) => p / queries, positionLabel, colours, { title: "query" });
    if (mark !== null) drawFrame(open.context, cellBox(plotted, grid.rows, grid.columns, mark));
    return plotted;
  }

  function draw() {
    if (grid === null) return;
    const width = canvas.clientWidth;
    canvas.style.height = `${Math.round((width - 84) * Math.max(0.5, Math.min(2, queries / keys))) + 50}px`;
    box = drawOn(canvas, cell) ?? box;
    drawReceived(curve);
  }

  function drawReceived(surface) {
    if (received !== null) drawCurve(surface, { values: received, length: keys, isStanding: false, marked: null, colours: palette(), title: "key" });
  }

  return {
    element: element(
      "div",
      { class: "layers-part" },
      element("div", { class: "layers-head-line" }, element("h3", { text: "Attention followed through all layers (rollout)" }), element("button", { type: "button", text: "Open in the map", on: { click: () => openMap(layer, 0) } })),
      facts ? element("p", { class: "note", text: facts }) : null,
      element(
        "div",
        { class: "layers-rollout" },
        element("div", { class: "layers-figure" }, canvas, nearby),
        element("div", { class: "layers-curves" }, element("figure", { class: "layers-figure" }, element("figcaption", { text: "What each key receives by it" }), curve), most.element),
      ),
    ),
    draw,
    ready,
    drawMapOn: (surface) => drawOn(surface, null),
    drawReceivedOn: drawReceived,
  };
}

// The drawing of an export: plots below one another, each under its title.
async function sheet({ plot, by, profiles, heading, rollout }) {
  await rollout?.ready;
  const parts = [
    plot && [`Heads by layer: ${NUMBER_NAMES[by]}`, SHEET.plot, plot.drawOn],
    ...Object.entries(profiles).map(([name, profile]) => profile.isShown() && [`${name === "received" ? "Received mass" : "Entropy of a row"}. ${heading}`, SHEET.curve, profile.drawOn]),
    rollout && ["Attention followed through all layers (rollout)", SHEET.width / 2, rollout.drawMapOn, SHEET.width / 2 + 34],
    rollout && ["What each key receives by the rollout", SHEET.curve, rollout.drawReceivedOn],
  ].filter(Boolean);
  const { canvas, element: drawing } = vectorCanvas(SHEET.width, parts.reduce((sum, [, height]) => sum + height + SHEET.title, 0));
  const pen = canvas.getContext("2d");
  let y = 0;
  for (const [title, height, drawOn, width = SHEET.width] of parts) {
    pen.font = "600 14px system-ui, sans-serif";
    pen.fillStyle = palette().ink;
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.fillText(isolated(title), 0, y + 6);
    const part = vectorCanvas(width, height);
    drawOn(part.canvas);
    pen.drawImage(part.element, 0, y + SHEET.title, width, height);
    y += height + SHEET.title;
  }
  return drawing;
}
