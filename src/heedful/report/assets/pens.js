// The same drawing on a canvas and as SVG: lines, words, areas, cells and images, in pixels from the upper left.
const SVG = "http://www.w3.org/2000/svg";
const FONT = "system-ui, sans-serif";

export function canvasPen(context) {
  const styled = (colour, alpha) => {
    context.globalAlpha = alpha;
    context.fillStyle = colour;
    context.strokeStyle = colour;
  };
  return {
    line(x0, y0, x1, y1, { colour, alpha = 1, width = 1 }) {
      styled(colour, alpha);
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
    },
    rect({ x, y, width, height }, { colour, alpha = 1 }) {
      styled(colour, alpha);
      context.fillRect(x, y, width, height);
    },
    frame({ x, y, width, height }, { colour, line = 1 }) {
      styled(colour, 1);
      context.lineWidth = line;
      context.strokeRect(x, y, width, height);
    },
    shape(points, { fill = null, colour = null, alpha = 1 }) {
      styled(fill ?? colour, alpha);
      context.lineWidth = 1.25;
      context.beginPath();
      points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
      if (fill !== null) context.fill();
      else context.stroke();
    },
    // `align` is "left", "center" or "right", `turned` writes upwards; what is longer than `room` ends in an ellipsis.
    words(text, x, y, { colour, size = 12, align = "left", turned = false, weight = 400, room = Infinity }) {
      styled(colour, 1);
      context.font = `${weight} ${size}px ${FONT}`;
      context.textAlign = align;
      context.textBaseline = "middle";
      context.direction = "ltr";
      const fitting = fitted(context, text, room);
      if (!turned) return context.fillText(fitting, x, y);
      context.save();
      context.translate(x, y);
      context.rotate(-Math.PI / 2);
      context.fillText(fitting, 0, 0);
      context.restore();
    },
    // A part of an image into a box.
    image(image, part, box, { isSmooth = false }) {
      context.globalAlpha = 1;
      context.imageSmoothingEnabled = isSmooth;
      context.imageSmoothingQuality = box.width < part.width ? "high" : "low";
      context.drawImage(image, part.x, part.y, part.width, part.height, box.x, box.y, box.width, box.height);
    },
    within({ x, y, width, height }, act) {
      context.save();
      context.beginPath();
      context.rect(x, y, width, height);
      context.clip();
      act();
      context.restore();
    },
  };
}

// A pen whose `drawing()` is an SVG element. It is made in a document of its own, which loads and runs nothing.
export function svgPen(width, height) {
  const page = document.implementation.createDocument(SVG, "svg");
  const root = page.documentElement;
  const ruler = document.createElement("canvas").getContext("2d");
  let parent = root;
  let clips = 0;
  const add = (tag, attributes, text = null) => {
    const made = page.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, typeof value === "number" ? String(Number(value.toFixed(2))) : value);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  };
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.setAttribute("width", width);
  root.setAttribute("height", height);
  const opacity = (alpha) => (alpha === 1 ? null : alpha);
  return {
    line: (x1, y1, x2, y2, { colour, alpha = 1, width: line = 1 }) => add("line", { x1, y1, x2, y2, stroke: colour, "stroke-width": line, "stroke-opacity": opacity(alpha) }),
    rect: (box, { colour, alpha = 1 }) => add("rect", { ...sizes(box), fill: colour, "fill-opacity": opacity(alpha), "shape-rendering": "crispEdges" }),
    frame: (box, { colour, line = 1 }) => add("rect", { ...sizes(box), fill: "none", stroke: colour, "stroke-width": line }),
    shape(points, { fill = null, colour = null, alpha = 1 }) {
      const places = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
      add(fill === null ? "polyline" : "polygon", { points: places, fill: fill ?? "none", stroke: colour, "stroke-width": colour && 1.25, "fill-opacity": opacity(alpha) });
    },
    words(text, x, y, { colour, size = 12, align = "left", turned = false, weight = 400, room = Infinity }) {
      ruler.font = `${weight} ${size}px ${FONT}`;
      const anchor = { left: "start", center: "middle", right: "end" }[align];
      const turn = turned ? `rotate(-90 ${x.toFixed(2)} ${y.toFixed(2)})` : null;
      add("text", { x, y, fill: colour, "font-family": FONT, "font-size": size, "font-weight": weight === 400 ? null : weight, "text-anchor": anchor, "dominant-baseline": "central", transform: turn }, fitted(ruler, text, room));
    },
    image(image, part, box) {
      const copy = document.createElement("canvas");
      [copy.width, copy.height] = [Math.max(1, Math.round(part.width)), Math.max(1, Math.round(part.height))];
      const pen = copy.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image, part.x, part.y, part.width, part.height, 0, 0, copy.width, copy.height);
      add("image", { ...sizes(box), href: copy.toDataURL("image/png"), preserveAspectRatio: "none", "image-rendering": "pixelated" });
    },
    within(box, act) {
      const clip = add("clipPath", { id: `map-inside-${clips}` });
      parent = clip;
      add("rect", sizes(box));
      parent = root;
      parent = add("g", { "clip-path": `url(#map-inside-${clips++})` });
      act();
      parent = root;
    },
    drawing: () => root,
  };
}

function sizes({ x, y, width, height }) {
  return { x, y, width, height };
}

// The longest beginning of a text that fits into some pixels, with an ellipsis where it is not all of it.
function fitted(context, text, room) {
  if (room === Infinity || context.measureText(text).width <= room) return text;
  const letters = [...text];
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${letters.slice(0, middle).join("")}\u2026`).width <= room) low = middle;
    else high = middle - 1;
  }
  return `${letters.slice(0, low).join("")}\u2026`;
}
