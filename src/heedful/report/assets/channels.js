// Things with names, such as channels: a chart of bars of what each is given, in their order or the largest first.
import { drawBottomAxis, drawBoxLine, drawLeftAxis, valueTicks } from "./axes.js";
import { choice, element, given, number, percent, whole } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { placeText, shortened } from "./places.js";
import { largestOf } from "./shares.js";

const EDGES = { left: 64, right: 16, top: 10, bottom: 40 };
const HEIGHT = 280;
const MOST_NAMED = 10; // in the list of the largest
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };

// `act` is { current(), point(position), pick(position) }; `order()` is "order" or "sorted".
export function barsPanel(side, { act, order, setOrder, isQuery }) {
  const { count } = side;
  const canvas = element("canvas", {
    class: "input-bars",
    tabindex: "0",
    role: "application",
    "aria-roledescription": "bar chart",
    "aria-label": `${side.name}: ${count} bars. Left and right arrow keys move from bar to bar.`,
    style: { height: `${HEIGHT}px` },
  });
  const ordering = choice("Bars", [["order", "in order"], ["sorted", "largest first"]], order(), setOrder);
  const rows = Array.from({ length: Math.min(MOST_NAMED, count) }, () => {
    const [name, share, bar] = [given(""), element("span", { class: "input-number" }), element("span", { class: "input-fill" })];
    return { name, share, bar, element: element("li", {}, name, element("span", { class: "input-share" }, bar), share) };
  });
  const list = element("ol", { class: "input-top", "aria-label": "The largest" }, ...rows.map((row) => row.element));
  const settings = element("div", { class: "input-settings" }, ordering.element);
  const body = element("div", { class: "input-chart" }, element("div", { class: "input-plot" }, canvas, settings), list);
  let plot = null;
  let ranks = Array.from({ length: count }, (_, i) => i); // the position that stands at each place
  let arranged = "order";
  let places = ranks; // the place of each position

  const at = (event) => {
    const along = plot === null ? -1 : (event.offsetX - plot.x) / plot.width;
    return along < 0 || along >= 1 ? null : ranks[Math.floor(along * count)];
  };
  canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && act.point(at(event)));
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && act.point(null));
  canvas.addEventListener("click", (event) => at(event) !== null && act.pick(at(event)));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const from = act.current();
    const step = STEPS[event.key];
    if (step !== undefined) act.point(from === null ? ranks[0] : ranks[Math.max(0, Math.min(count - 1, places[from] + step))]);
    else if (event.key === "Home") act.point(ranks[0]);
    else if (event.key === "End") act.point(ranks[count - 1]);
    else if (event.key === "Enter" || event.key === " ") act.pick(from ?? ranks[0]);
    else return;
    event.preventDefault();
  });

  return {
    element: body,
    canvas,
    settings,
    draw({ weights, shown, pinned, probe, colours, isPointing }) {
      ordering.show(order());
      // Sorted bars stand still while the one pointed at is the query, or another would lie under the pointer at once.
      const isHeld = isQuery && isPointing && pinned === null && arranged === "sorted" && order() === "sorted";
      if (!isHeld) arrange(weights);
      drawBars(weights, { shown: isQuery ? shown : null, probe, colours });
      const found = largestOf(weights, rows.length);
      rows.forEach((row, i) => {
        const position = found[i];
        row.element.hidden = position === undefined;
        if (position === undefined) return;
        row.name.textContent = shortened(placeText(side, position), 64);
        row.share.textContent = percent(weights[position]);
        row.bar.style.transform = `scaleX(${weights[position] / weights[found[0]]})`;
      });
    },
  };

  function arrange(weights) {
    arranged = order();
    ranks = Array.from({ length: count }, (_, i) => i);
    if (arranged === "sorted") ranks.sort((a, b) => weights[b] - weights[a]);
    places = new Array(count);
    ranks.forEach((position, place) => (places[position] = place));
  }

  function drawBars(weights, { shown, probe, colours }) {
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context, width, height } = open;
    const box = { x: EDGES.left, y: EDGES.top, width: Math.max(1, width - EDGES.left - EDGES.right), height: height - EDGES.top - EDGES.bottom };
    plot = box;
    const high = weights.reduce((most, weight) => Math.max(most, weight), 0) || 1;
    const place = (weight) => weight / (1.06 * high);
    const room = box.width / count;
    const thick = Math.max(1, room > 4 ? Math.min(48, room * 0.8) : room);
    ranks.forEach((position, at) => {
      const tall = place(weights[position]) * box.height;
      context.fillStyle = position === shown ? colours.ink : colours.accent;
      context.globalAlpha = position === shown || position === probe ? 1 : 0.72;
      context.fillRect(box.x + (at + 0.5) * room - thick / 2, box.y + box.height - tall, thick, tall);
    });
    context.globalAlpha = 1;
    drawMarks(context, box, room, { shown, probe, colours });
    drawBoxLine(context, box, colours);
    drawLeftAxis(context, box, valueTicks(0, high, 4), place, (share) => `${number(100 * share)}\u00a0%`, colours, { isUp: true });
    drawNames(context, box, room, colours);
  }

  // A query or a bar that is pointed at keeps a band even where its bar is flat.
  function drawMarks(context, box, room, { shown, probe, colours }) {
    for (const [position, alpha] of [[shown, 0.14], [probe, 0.08]]) {
      if (position === null) continue;
      context.fillStyle = colours.ink;
      context.globalAlpha = alpha;
      context.fillRect(box.x + places[position] * room, box.y, Math.max(2, room), box.height);
      context.globalAlpha = 1;
    }
  }

  // Names below the bars where each fits under its own; else places along the axis.
  function drawNames(context, box, room, colours) {
    context.font = "12px system-ui, sans-serif";
    const names = ranks.map((position) => shortened(placeText(side, position), 24));
    if (count <= 64 && names.every((name) => context.measureText(name).width <= room - 4)) {
      context.fillStyle = colours.muted;
      context.textAlign = "center";
      context.textBaseline = "top";
      names.forEach((name, at) => context.fillText(name, box.x + (at + 0.5) * room, box.y + box.height + 7));
    } else if (order() === "sorted") {
      drawBottomAxis(context, box, valueTicks(0, count, 4), (tick) => tick / count, whole, colours, "rank");
    } else {
      drawBottomAxis(context, box, valueTicks(0, count, 4), (tick) => tick / count, whole, colours, side.name.slice(0, 40));
    }
  }
}
