// Things with names, such as channels: a chart of bars of what each is given, in their order or the largest first.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, plotBox, valueTicks } from "./axes.js";
import { choice, element, userText } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { number, percent, whole } from "./format.js";
import { clamp, hasModifier, watchPointer } from "./pointing.js";
import { positionText, shortened } from "./positions.js";
import { largestOf, rangeOf } from "./weights.js";

const EDGES = { left: 64, right: 16, top: 10, bottom: 40 };
const HEIGHT = 280;
const MOST_NAMED = 10; // in the list of the largest
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

// `act` is { current(), point(position), pick(position) }; `ordering()` is "order" or "sorted".
export function barsPanel(side, { act, ordering, setOrder, isQuery }) {
  const { count } = side;
  const canvas = element("canvas", {
    class: "input-bars",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "bar chart",
    "aria-label": `${side.name}: ${count} bars. Left and right arrow keys move from bar to bar.`,
    style: { height: `${HEIGHT}px` },
  });
  const choices = choice("Bars", [["order", "in order"], ["sorted", "largest first"]], ordering(), setOrder);
  const rows = Array.from({ length: Math.min(MOST_NAMED, count) }, () => {
    const [name, share, bar] = [userText(""), element("span", { class: "input-number" }), element("span", { class: "input-fill" })];
    return { name, share, bar, element: element("li", {}, name, element("span", { class: "input-share" }, bar), share) };
  });
  const list = element("ol", { class: "input-top", "aria-label": "Largest weights" }, ...rows.map((row) => row.element));
  const settings = element("div", { class: "input-settings" }, choices.element);
  const body = element("div", { class: "input-chart" }, element("div", { class: "input-plot" }, canvas, settings), list);
  let plot = null;
  let order = Array.from({ length: count }, (_, i) => i); // positions from left to right
  let arranged = "order";
  let rankOf = order; // of each position

  const at = (event) => {
    const along = plot === null ? -1 : (event.offsetX - plot.x) / plot.width;
    return along < 0 || along >= 1 ? null : order[Math.floor(along * count)];
  };
  watchPointer(canvas, at, act);
  canvas.addEventListener("keydown", (event) => {
    if (hasModifier(event)) return;
    const from = act.current();
    const step = STEPS[event.key];
    if (step !== undefined) act.point(from === null ? order[0] : order[clamp(rankOf[from] + step, count)]);
    else if (event.key === "Home") act.point(order[0]);
    else if (event.key === "End") act.point(order[count - 1]);
    else if (event.key === "Enter" || event.key === " ") act.pick(from ?? order[0]);
    else return;
    event.preventDefault();
  });

  return {
    element: body,
    canvas,
    settings,
    draw({ weights, shown, pinned, probe, colors, isPointing }) {
      choices.show(ordering());
      // Sorted bars stand still while the one pointed at is the query, or another would lie under the pointer at once.
      const isHeld = isQuery && isPointing && pinned === null && arranged === "sorted" && ordering() === "sorted";
      if (!isHeld) arrange(weights);
      drawBars(weights, { shown: isQuery ? shown : null, probe, colors });
      const found = largestOf(weights, rows.length);
      rows.forEach((row, i) => {
        const position = found[i];
        row.element.hidden = position === undefined;
        if (position === undefined) return;
        row.name.textContent = shortened(positionText(side, position), 64);
        row.share.textContent = percent(weights[position]);
        row.bar.style.transform = `scaleX(${weights[position] / weights[found[0]]})`;
      });
    },
  };

  function arrange(weights) {
    arranged = ordering();
    order = Array.from({ length: count }, (_, i) => i);
    if (arranged === "sorted") order.sort((a, b) => weights[b] - weights[a]);
    rankOf = new Array(count);
    order.forEach((position, rank) => (rankOf[position] = rank));
  }

  function drawBars(weights, { shown, probe, colors }) {
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context, width, height } = open;
    const box = plotBox(width, height, EDGES);
    plot = box;
    const high = rangeOf(weights).high || 1;
    const fraction = (weight) => weight / (1.06 * high);
    const band = box.width / count;
    const thick = Math.max(1, band > 4 ? Math.min(48, band * 0.8) : band);
    order.forEach((position, at) => {
      const tall = fraction(weights[position]) * box.height;
      context.fillStyle = position === shown ? colors.ink : colors.accent;
      context.globalAlpha = position === shown || position === probe ? 1 : 0.72;
      context.fillRect(box.x + (at + 0.5) * band - thick / 2, box.y + box.height - tall, thick, tall);
    });
    context.globalAlpha = 1;
    drawMarks(context, box, band, { shown, probe, colors });
    drawBoxLine(context, box, colors);
    drawLeftAxis(context, box, valueTicks(0, high, 4), fraction, (share) => `${number(100 * share)}\u00a0%`, colors, { isUp: true });
    drawNames(context, box, band, colors);
  }

  // A query or a bar that is pointed at keeps a band even where its bar is flat.
  function drawMarks(context, box, band, { shown, probe, colors }) {
    for (const [position, alpha] of [[shown, 0.14], [probe, 0.08]]) {
      if (position === null) continue;
      context.fillStyle = colors.ink;
      context.globalAlpha = alpha;
      context.fillRect(box.x + rankOf[position] * band, box.y, Math.max(2, band), box.height);
      context.globalAlpha = 1;
    }
  }

  // Names below the bars where each fits under its own; else ticks along the axis.
  function drawNames(context, box, band, colors) {
    context.font = "12px system-ui, sans-serif";
    const names = order.map((position) => shortened(positionText(side, position), 24));
    if (count <= 64 && names.every((name) => context.measureText(name).width <= band - 4)) {
      context.fillStyle = colors.muted;
      context.textAlign = "center";
      context.textBaseline = "top";
      names.forEach((name, at) => context.fillText(name, box.x + (at + 0.5) * band, box.y + box.height + 7));
    } else if (ordering() === "sorted") {
      drawBottomAxis(context, box, valueTicks(0, count, 4), (tick) => tick / count, whole, colors, "rank");
    } else {
      drawBottomAxis(context, box, valueTicks(0, count, 4), (tick) => tick / count, whole, colors, side.name.slice(0, 40));
    }
  }
}
