// All layers at once: a number of every head, what positions receive, attention followed through the layers, kinds of heads.
import { element } from "./dom.js";
import { numberMeaning, numberOf, presentNumbers } from "./head-numbers.js";
import { headsText } from "./heads.js";
import { dotsPlot, dotWords, groupsOf } from "./layers-dots.js";
import { kindsList } from "./layers-kinds.js";
import { profileFigure, profileOf, topList } from "./layers-profiles.js";
import { rolloutPart } from "./layers-rollout.js";
import { canvasPen } from "./pen.js";
import { isolated } from "./positions.js";
import { vectorCanvas } from "./svg-canvas.js";
import { palette } from "./theme.js";

const SHEET = { width: 860, plot: 280, curve: 190, title: 30 }; // of an export

export function layersView(context) {
  const layers = context.layers.filter((layer) => layer.kind !== "rollout");
  const numbers = presentNumbers(layers);
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
  const choose = element("select", { "aria-label": "Head statistic", on: { change: () => context.set({ by: choose.value }) } });
  for (const name of numbers) choose.append(element("option", { value: name, text: numberMeaning(name) }));
  const profiles = { received: profileFigure(context, "received"), entropy: profileFigure(context, "entropy") };
  const most = topList();
  const heading = element("h3");
  const rollouts = context.layers.filter((layer) => layer.kind === "rollout").map((layer) => rolloutPart(context, layer, openMap));
  const shown = { key: null, serial: 0 };

  const body = element(
    "div",
    { class: "layers" },
    numbers.length === 0
      ? element("p", { class: "note", text: "The file holds no statistics of heads." })
      : element("div", { class: "layers-part" }, element("div", { class: "layers-head-line" }, element("h3", { text: "Heads by layer" }), choose, reading), plot.element, legend(layers)),
    element(
      "div",
      { class: "layers-part" },
      heading,
      element("div", { class: "layers-profiles" }, element("div", { class: "layers-curves" }, profiles.received.element, profiles.entropy.element), most.element),
    ),
    ...rollouts.map((rollout) => rollout.element),
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
      choose.value = by();
      plot.draw();
    }
    for (const profile of Object.values(profiles)) profile.draw();
    for (const rollout of rollouts) rollout.draw();
    showProfiles().catch((error) => context.say(`The curves cannot be shown: ${error.message}`));
  }

  return {
    element: body,
    draw,
    key: () => false,
    async svg() {
      await showProfiles();
      return sheet({ plot: numbers.length > 0 ? plot : null, by: by(), profiles, heading: heading.textContent, rollouts });
    },
    table: () => tableOf(layers),
  };
}

function legend(layers) {
  const groups = groupsOf(layers);
  const lines = ["solid", "dashed", "dotted", "dash and dot"];
  const words = groups.length === 1 ? "" : ` Lines: ${groups.map((group, i) => `${group}: ${lines[i % lines.length]}`).join("; ")}.`;
  return element("p", { class: "note", text: `Each dot is a head, in order of its number; the line is the mean. Click a dot to see the curves of that head below.${words}` });
}

// One row a head, with all of its numbers.
function tableOf(layers) {
  const names = presentNumbers(layers);
  const rows = layers.flatMap((layer) =>
    Array.from({ length: layer.heads }, (_, head) => [
      layer.index,
      layer.label,
      layer.name,
      layer.kind,
      head,
      layer.kinds[head] ?? "",
      ...names.map((name) => numberOf(layer, head, name)),
    ]),
  );
  return { name: "heads", header: ["layer", "label", "module", "attention", "head", "kind", ...names], rows };
}

// The drawing of an export: plots below one another, each under its title.
async function sheet({ plot, by, profiles, heading, rollouts }) {
  await Promise.all(rollouts.map((rollout) => rollout.ready));
  const parts = [
    plot && [`Heads by layer: ${numberMeaning(by)}`, SHEET.plot, plot.drawOn],
    ...Object.entries(profiles).map(([name, profile]) => profile.isShown() && [`${name === "received" ? "Received mass" : "Entropy of a row"}. ${heading}`, SHEET.curve, profile.drawOn]),
    ...rollouts.flatMap((rollout) => [
      [rollout.title, SHEET.width / 2, rollout.drawMapOn, SHEET.width / 2 + 34],
      ["Mass received by each key (rollout)", SHEET.curve, rollout.drawReceivedOn],
    ]),
  ].filter(Boolean);
  const { canvas, element: drawing } = vectorCanvas(SHEET.width, parts.reduce((sum, [, height]) => sum + height + SHEET.title, 0));
  const pen = canvas.getContext("2d");
  let y = 0;
  for (const [title, height, drawOn, width = SHEET.width] of parts) {
    canvasPen(pen).words(isolated(title), 0, y + 13, { color: palette().ink, size: 14, weight: 600 });
    const part = vectorCanvas(width, height);
    drawOn(part.canvas);
    pen.drawImage(part.element, 0, y + SHEET.title, width, height);
    y += height + SHEET.title;
  }
  return drawing;
}
