// Words over time: a row a word, its attention from left to right, and where its middle lies.
import { drawBottomAxis, drawBoxLine, plotBox, TRACK_EDGES, valueTicks } from "./axes.js";
import { peaksOf } from "./cells.js";
import { makeScale } from "./color.js";
import { element } from "./dom.js";
import { drawFrame, openCanvas, paintGrid } from "./drawing.js";
import { readShares } from "./key-weights.js";
import { canvasPen } from "./pen.js";
import { watchPointer } from "./pointing.js";
import { axisOf, positionText, shortened } from "./positions.js";
import { slices } from "./timing.js";
import { centerOf, rangeOf } from "./weights.js";

const [LOWEST, HIGHEST, MOST_HIGH] = [3, 20, 480]; // heights of a row, and of all together where they are many
export const MOST_ALIGNED = 160; // rows
const COLUMNS = 1024; // of colors
const SLICE = 8; // milliseconds of computing before the page may answer
const MOST_LETTERS = 12; // of a name

// `act` is { point(position), pick(position) } of the rows; the rows' names stand in the edge left of the axis.
export function alignmentPicture(rows, columns, { act }) {
  const each = Math.max(LOWEST, Math.min(HIGHEST, Math.floor(MOST_HIGH / rows.count)));
  const canvas = element("canvas", {
    class: "input-alignment",
    role: "img",
    "aria-label": `${rows.name} over ${columns.name}: one row per position, with a dot at its mean position. Choose a row with the buttons above.`,
    style: { height: `${TRACK_EDGES.top + each * rows.count + TRACK_EDGES.bottom}px` },
  });
  let read = { key: null, cells: null, centers: [] };
  let asked = null;
  let plot = null;
  const at = (event) => {
    const down = plot === null ? -1 : Math.floor((event.offsetY - plot.y) / each);
    return down < 0 || down >= rows.count ? null : down;
  };
  watchPointer(canvas, at, act);

  // Reads the rows of a layer and some heads once; draws at once what is there.
  async function draw(view) {
    const { layer, heads } = view;
    const key = `${layer.index} ${heads.join()}`;
    asked = view;
    if (read.key === key) return paint(view);
    const width = Math.min(COLUMNS, columns.count);
    const made = { key, cells: new Float32Array(rows.count * width), width, centers: [] };
    const pause = slices(SLICE);
    for (let row = 0; row < rows.count; row++) {
      const { weights } = await readShares(layer, heads, row);
      made.cells.set(peaksOf(weights, width), row * width);
      made.centers.push(centerOf(weights));
      await pause();
      if (`${asked.layer.index} ${asked.heads.join()}` !== key) return;
    }
    read = made;
    paint(asked);
  }

  function paint({ kind, shown, colors }) {
    if (read.cells === null) return;
    const open = openCanvas(canvas);
    if (open === null) return;
    const { context, width, height } = open;
    plot = plotBox(width, height, TRACK_EDGES);
    const { high, smallest } = rangeOf(read.cells);
    context.imageSmoothingEnabled = false;
    context.drawImage(paintGrid(read.cells, 0, rows.count, read.width, makeScale(kind, high, smallest)), plot.x, plot.y, plot.width, plot.height);
    drawBoxLine(context, plot, colors);
    read.centers.forEach((center, row) => {
      if (center === null) return;
      drawDot(context, plot.x + ((center + 0.5) / columns.count) * plot.width, plot.y + (row + 0.5) * each, Math.min(4, each / 4 + 0.5));
    });
    drawNames(context, shown, colors);
    const { length, title, format } = axisOf(columns);
    drawBottomAxis(context, plot, valueTicks(0, length, plot.width < 360 ? 3 : 6), (tick) => tick / length, format, colors, title);
    if (shown === null) return;
    drawFrame(context, { x: plot.x, y: plot.y + shown * each, width: plot.width, height: each }, { thick: 1 });
  }

  function drawNames(context, shown, colors) {
    const every = Math.ceil(13 / each);
    const pen = canvasPen(context);
    for (let row = 0; row < rows.count; row += every) {
      const color = row === shown ? colors.ink : colors.muted;
      pen.words(shortened(positionText(rows, row), MOST_LETTERS), plot.x - 7, plot.y + (row + 0.5) * each, { color, align: "right", maxWidth: TRACK_EDGES.left - 10 });
    }
  }

  return { element: canvas, canvas, draw };
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
