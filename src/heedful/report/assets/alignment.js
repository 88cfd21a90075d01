// Words over time: a row a word, its attention from left to right, and where its middle lies.
import { drawBottomAxis, drawBoxLine, valueTicks } from "./axes.js";
import { makeScale } from "./colour.js";
import { element } from "./dom.js";
import { drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { axisOf, placeText, shortened } from "./places.js";
import { centreOf, rangeOf, readShares, peaksOf } from "./shares.js";

const EDGES = { left: 64, right: 64, top: 8, bottom: 40 }; // the same as those of the ribbons of heads below
const [LOWEST, HIGHEST, ROOM] = [3, 20, 480]; // heights of a row, and of all together where they are many
export const MOST_ALIGNED = 160; // rows
const COLUMNS = 1024; // of colours
const SLICE = 8; // milliseconds of computing before the page may answer
const FONT = "12px system-ui, sans-serif";

// `act` is { point(position), pick(position) } of the rows; the rows' names stand in the edge left of the axis.
export function alignmentPicture(rows, columns, { act }) {
  const each = Math.max(LOWEST, Math.min(HIGHEST, Math.floor(ROOM / rows.count)));
  const canvas = element("canvas", {
    class: "input-alignment",
    role: "img",
    "aria-label": `${rows.name} over ${columns.name}: a row a position, dots where the middle of each lies. Choose a row with the buttons above.`,
    style: { height: `${EDGES.top + each * rows.count + EDGES.bottom}px` },
  });
  let read = { key: null, cells: null, centres: [] };
  let asked = null;
  let plot = null;
  const at = (event) => {
    const down = plot === null ? -1 : Math.floor((event.offsetY - plot.y) / each);
    return down < 0 || down >= rows.count ? null : down;
  };
  canvas.addEventListener("pointermove", (event) => event.pointerType !== "touch" && act.point(at(event)));
  canvas.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && act.point(null));
  canvas.addEventListener("click", (event) => at(event) !== null && act.pick(at(event)));

  // Reads the rows of a layer and some heads once; draws at once what is there.
  async function draw(view) {
    const { layer, heads } = view;
    const key = `${layer.index} ${heads.join()}`;
    asked = view;
    if (read.key === key) return paint(view);
    const width = Math.min(COLUMNS, columns.count);
    const made = { key, cells: new Float32Array(rows.count * width), width, centres: [] };
    let since = performance.now();
    for (let row = 0; row < rows.count; row++) {
      const { weights } = await readShares(layer, heads, row);
      made.cells.set(peaksOf(weights, width), row * width);
      made.centres.push(centreOf(weights));
      if (performance.now() - since > SLICE) {
        await new Promise((done) => setTimeout(done));
        since = performance.now();
      }
      if (`${asked.layer.index} ${asked.heads.join()}` !== key) return;
    }
    read = made;
    paint(asked);
  }

  function paint({ kind, shown, colours }) {
    if (read.cells === null) return;
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context, width, height } = open;
    plot = { x: EDGES.left, y: EDGES.top, width: Math.max(1, width - EDGES.left - EDGES.right), height: height - EDGES.top - EDGES.bottom };
    const { high, smallest } = rangeOf(read.cells);
    context.imageSmoothingEnabled = false;
    context.drawImage(paintGrid(read.cells, 0, rows.count, read.width, makeScale(kind, high, smallest)), plot.x, plot.y, plot.width, plot.height);
    drawBoxLine(context, plot, colours);
    read.centres.forEach((centre, row) => {
      if (centre === null) return;
      drawDot(context, plot.x + ((centre + 0.5) / columns.count) * plot.width, plot.y + (row + 0.5) * each, Math.min(4, each / 4 + 0.5));
    });
    drawNames(context, shown, colours);
    const { length, title, format } = axisOf(columns);
    drawBottomAxis(context, plot, valueTicks(0, length, plot.width < 360 ? 3 : 6), (tick) => tick / length, format, colours, title);
    if (shown === null) return;
    drawFrame(context, { x: plot.x, y: plot.y + shown * each, width: plot.width, height: each }, { thick: 1 });
  }

  function drawNames(context, shown, colours) {
    const every = Math.ceil(13 / each);
    context.font = FONT;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (let row = 0; row < rows.count; row += every) {
      context.fillStyle = row === shown ? colours.ink : colours.muted;
      context.fillText(fitting(context, placeText(rows, row)), plot.x - 7, plot.y + (row + 0.5) * each);
    }
  }

  return { element: canvas, canvas, draw };
}

// As much of a text as stands in the edge.
function fitting(context, text) {
  const room = EDGES.left - 10;
  for (let most = 12; most > 2; most--) {
    const words = shortened(text, most);
    if (context.measureText(words).width <= room) return words;
  }
  return shortened(text, 2);
}

function drawDot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = 2;
  context.strokeStyle = "#000";
  context.stroke();
  context.fillStyle = "#fff";
  context.fill();
}
