// What a map looks like: cells, largest links, axes with ticks or names, and curves along its edges.
import { makeScale, paint } from "./colour.js";
import { cleaned, hasNames, ticksOf } from "./maplabels.js";

const [MOST_WIDE, LEAST_WIDE, WIDEST_CELL] = [600, 220, 56]; // pixels
const [FLATTEST, HIGHEST] = [0.2, 1.25]; // height over width
const STRIP = 44; // pixels across a curve
const GAP = 8;
const MOST_CELLS = 10_000; // that an SVG holds one by one
const LEAST_DOT = 2.5; // pixels of a link

// Where the parts of a map lie on a canvas of this width: { width, height, box, right, bottom }; `right` and `bottom` are
// the boxes of curves, null without.
export function layOut(width, layer, { hasRight, hasBottom }) {
  const isNarrow = width < 520;
  const isNamed = (side) => hasNames(side);
  const left = isNamed(layer.side.rows) ? (isNarrow ? 72 : 104) : 72;
  const top = isNamed(layer.side.columns) ? (isNarrow ? 74 : 92) : 44;
  const strip = hasRight && !isNarrow ? STRIP + GAP : 0;
  const room = Math.max(80, width - left - strip - 12);
  const wide = Math.round(Math.min(room, MOST_WIDE, Math.max(LEAST_WIDE, layer.keys * WIDEST_CELL)));
  const square = (wide * layer.queries) / layer.keys;
  const high = Math.round(Math.min(MOST_WIDE, Math.max(40, Math.min(wide * HIGHEST, Math.max(wide * FLATTEST, square)))));
  const box = { x: left, y: top, width: wide, height: Math.min(high, layer.queries * WIDEST_CELL) };
  return {
    width: left + wide + strip + 12,
    height: top + box.height + (hasBottom ? STRIP + GAP : 0) + 10,
    box,
    right: strip > 0 ? { x: left + wide + GAP, y: top, width: STRIP, height: box.height } : null,
    bottom: hasBottom ? { x: left, y: top + box.height + GAP, width: wide, height: STRIP } : null,
  };
}

// The pixels of a part of the matrix.
export function boxOf(box, view, { top, bottom, left, right }) {
  const [tall, wide] = [box.height / (view.bottom - view.top), box.width / (view.right - view.left)];
  return { x: box.x + (left - view.left) * wide, y: box.y + (top - view.top) * tall, width: (right - left) * wide, height: (bottom - top) * tall };
}

// A tile where it lies in view. Cells that stand behind links are drawn softly.
export function drawTile(pen, tile, view, box, kind) {
  const seen = {
    top: Math.max(tile.top, view.top), bottom: Math.min(tile.bottom, view.bottom),
    left: Math.max(tile.left, view.left), right: Math.min(tile.right, view.right),
  };
  if (seen.top >= seen.bottom || seen.left >= seen.right) return;
  const image = tile.image(kind);
  const [tall, wide] = [image.height / (tile.bottom - tile.top), image.width / (tile.right - tile.left)];
  const part = { x: (seen.left - tile.left) * wide, y: (seen.top - tile.top) * tall, width: (seen.right - seen.left) * wide, height: (seen.bottom - seen.top) * tall };
  const place = boxOf(box, view, seen);
  pen.image(image, part, place, { isSmooth: tile.links !== null || part.width > place.width * 1.5 || part.height > place.height * 1.5 });
}

// The cells of a tile one by one, for a drawing that is edited later; false where they are too many.
export function drawCells(pen, tile, view, box, kind) {
  if (tile.links !== null || tile.rows * tile.columns > MOST_CELLS) return false;
  const colours = coloursOf(tile.values, tile.scale(kind));
  for (let row = 0, at = 0; row < tile.rows; row++) {
    for (let column = 0; column < tile.columns; column++, at++) {
      const cell = { top: tile.rowEdges[row], bottom: tile.rowEdges[row + 1], left: tile.columnEdges[column], right: tile.columnEdges[column + 1] };
      if (cell.bottom > view.top && cell.top < view.bottom && cell.right > view.left && cell.left < view.right) pen.rect(boxOf(box, view, cell), { colour: colours[at] });
    }
  }
  return true;
}

export function drawLinks(pen, tile, view, box, kind, keys) {
  if (tile.links.kind !== kind) Object.assign(tile.links, { kind, colours: coloursOf([...tile.links.weights.values()], tile.scale(kind)) });
  let next = 0;
  for (const at of tile.links.weights.keys()) {
    const colour = tile.links.colours[next++];
    const [row, column] = [Math.floor(at / keys), at % keys];
    if (row + 1 <= view.top || row >= view.bottom || column + 1 <= view.left || column >= view.right) continue;
    const { x, y, width, height } = boxOf(box, view, { top: row, bottom: row + 1, left: column, right: column + 1 });
    const [w, h] = [Math.max(LEAST_DOT, width), Math.max(LEAST_DOT, height)];
    pen.rect({ x: x + (width - w) / 2, y: y + (height - h) / 2, width: w, height: h }, { colour });
  }
}

function coloursOf(values, scale) {
  if (values.length === 0) return [];
  const { data } = paint(new ImageData(values.length, 1), values, 0, scale);
  return Array.from({ length: values.length }, (_, i) => `rgb(${data[4 * i]},${data[4 * i + 1]},${data[4 * i + 2]})`);
}

// The axes left of and above a map: queries downwards, keys to the right.
export function drawAxes(pen, layer, view, box, colours) {
  const { rows, columns } = layer.side;
  const style = { colour: colours.muted };
  const left = ticksOf(rows, view.top, view.bottom, box.height, 36);
  const isUpright = hasNames(columns) && (columns.kind !== "picture" || box.width / (view.right - view.left) >= 11);
  const above = ticksOf(columns, view.left, view.right, box.width, columns.kind === "picture" ? 56 : 72);
  const isNamed = (side, ticks) => hasNames(side) && ticks.some((tick) => tick.at % 1 === 0.5);
  for (const { at, words } of left) {
    const y = box.y + ((at - view.top) / (view.bottom - view.top)) * box.height;
    if (y < box.y - 0.5 || y > box.y + box.height + 0.5) continue;
    pen.line(box.x - 4, y, box.x - 1, y, style);
    pen.words(words, box.x - 8, y, { ...style, size: isNamed(rows, left) ? 11 : 12, align: "right", room: box.x - 30 });
  }
  for (const { at, words } of above) {
    const x = box.x + ((at - view.left) / (view.right - view.left)) * box.width;
    if (x < box.x - 0.5 || x > box.x + box.width + 0.5) continue;
    pen.line(x, box.y - 4, x, box.y - 1, style);
    if (isUpright && isNamed(columns, above)) pen.words(words, x, box.y - 8, { ...style, size: 11, turned: true, room: box.y - 32 });
    else pen.words(words, x, box.y - 13, { ...style, align: x < box.x + 16 ? "left" : x > box.x + box.width - 24 ? "right" : "center" });
  }
  const title = (what, side) => (side.name === what ? what : `${what}: ${cleaned(side.name)}`);
  pen.words(title("queries", rows), 10, box.y + box.height / 2, { ...style, align: "center", turned: true, room: Math.max(60, box.height) });
  pen.words(title("keys", columns), box.x + box.width / 2, 10, { ...style, align: "center", room: box.width });
}

// A curve over the queries in view, right of the map, or over the keys in view, below it; from 0 to its largest value.
export function drawStrip(pen, points, { length, from, to, box, words, isStanding, colours, format }) {
  const room = isStanding ? box.height : box.width;
  let high = 0;
  for (const value of points) if (value > high) high = value;
  const across = isStanding ? box.width : box.height;
  const line = [];
  const steps = Math.min(room, Math.max(1, Math.ceil(((to - from) / length) * points.length)));
  for (let step = 0; step < steps; step++) {
    const [start, end] = [from + ((to - from) * step) / steps, from + ((to - from) * (step + 1)) / steps];
    const first = Math.min(points.length - 1, Math.floor((start / length) * points.length + 1e-6));
    const last = Math.min(points.length, Math.max(first + 1, Math.floor((end / length) * points.length + 1e-6)));
    let sum = 0;
    for (let i = first; i < last; i++) sum += points[i];
    const value = high > 0 ? (sum / (last - first) / high) * across : 0;
    for (const edge of [step / steps, (step + 1) / steps]) line.push(isStanding ? [box.x + value, box.y + edge * room] : [box.x + edge * room, box.y + value]);
  }
  const [first, last] = isStanding ? [[box.x, box.y], [box.x, box.y + room]] : [[box.x, box.y], [box.x + room, box.y]];
  pen.shape([first, ...line, last], { fill: colours.accent, alpha: 0.25 });
  pen.shape(line, { colour: colours.accent });
  const style = { colour: colours.muted, size: 11 };
  if (isStanding) {
    pen.words(words, box.x, box.y - 24, style);
    pen.words(`0 to ${format(high)}`, box.x, box.y - 10, { ...style, room: box.width + 12 });
    return;
  }
  pen.words(words, box.x - 8, box.y + 9, { ...style, align: "right", room: box.x - 8 });
  pen.words(`0 to ${format(high)}`, box.x - 8, box.y + 24, { ...style, align: "right", room: box.x - 8 });
}

// The bar of colours, for a drawing that leaves the page.
export function drawBar(pen, { x, y, width }, scale, words, colours, format) {
  const steps = 64;
  for (let step = 0; step < steps; step++) {
    const [colour] = coloursOf([step / (steps - 1)], makeScale("linear", 1));
    pen.rect({ x: x + (step * width) / steps, y, width: width / steps + 0.5, height: 10 }, { colour });
  }
  const style = { colour: colours.muted, size: 11 };
  pen.words(words, x, y - 10, { ...style, room: width });
  for (const [place, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) pen.words(format(scale.value(place)), x + place * width, y + 20, { ...style, align });
}
