// A canvas that writes SVG: what draws on a canvas draws on it as well, so that an export is sharp at any size.

const SVG = "http://www.w3.org/2000/svg";
const FORBIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const STARTING = {
  fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, lineJoin: "miter", lineCap: "butt", globalAlpha: 1, font: "10px sans-serif",
  textAlign: "left", textBaseline: "alphabetic", imageSmoothingEnabled: true, isCrisp: false, dash: [], transform: "",
};

// { canvas, element }: `canvas` is given to what draws, `element` is the drawing that it makes.
export function vectorCanvas(width, height) {
  const root = node("svg", { width: short(width), height: short(height), viewBox: `0 0 ${short(width)} ${short(height)}` });
  const context = new VectorContext(root);
  return { canvas: { clientWidth: width, clientHeight: height, width, height, getContext: () => context }, element: root };
}

// The text of a file for a drawing, its title first.
export function svgText(drawing, title) {
  const copy = drawing.cloneNode(true);
  const name = node("title");
  name.textContent = title;
  copy.prepend(name);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy).replace(FORBIDDEN, "\ufffd")}\n`;
}

// The part of a canvas's context that drawings of a report use.
class VectorContext {
  #parent;
  #kept = [];
  #path = "";

  constructor(root) {
    this.#parent = root;
    Object.assign(this, STARTING);
  }

  save() {
    this.#kept.push([this.#parent, Object.fromEntries(Object.keys(STARTING).map((name) => [name, this[name]]))]);
  }

  restore() {
    const [parent, state] = this.#kept.pop();
    this.#parent = parent;
    Object.assign(this, state);
  }

  // What is drawn from now on, until it is restored, is seen within the path alone.
  clip() {
    const id = `inside-${clips++}`;
    const [inside, group] = [node("clipPath", { id }), node("g", { "clip-path": `url(#${id})` })];
    inside.append(node("path", { d: this.#path }));
    this.#parent.append(inside, group);
    this.#parent = group;
  }

  setTransform() {
    this.transform = "";
  }

  translate(x, y) {
    this.transform += `translate(${short(x)} ${short(y)}) `;
  }

  rotate(angle) {
    this.transform += `rotate(${short((angle * 180) / Math.PI)}) `;
  }

  clearRect() {}

  setLineDash(dash) {
    this.dash = dash;
  }

  measureText(text) {
    measuring ??= document.createElement("canvas").getContext("2d");
    measuring.font = this.font;
    return measuring.measureText(text);
  }

  beginPath() {
    this.#path = "";
  }

  moveTo(x, y) {
    this.#path += `M${short(x)} ${short(y)}`;
  }

  lineTo(x, y) {
    this.#path += `${this.#path === "" ? "M" : "L"}${short(x)} ${short(y)}`;
  }

  bezierCurveTo(...numbers) {
    this.#path += `C${numbers.map(short).join(" ")}`;
  }

  closePath() {
    this.#path += "Z";
  }

  rect(x, y, width, height) {
    this.#path += `M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}Z`;
  }

  // Whole circles alone.
  arc(x, y, radius) {
    const turn = `a${short(radius)} ${short(radius)} 0 1 0`;
    this.#path += `M${short(x - radius)} ${short(y)}${turn}${short(2 * radius)} 0${turn}${short(-2 * radius)} 0`;
  }

  fill() {
    this.#add("path", { d: this.#path, fill: this.fillStyle });
  }

  stroke() {
    this.#add("path", { d: this.#path, ...this.#line() });
  }

  fillRect(x, y, width, height) {
    this.#add("rect", { ...box(x, y, width, height), fill: this.fillStyle, "shape-rendering": this.isCrisp ? "crispEdges" : null });
  }

  strokeRect(x, y, width, height) {
    this.#add("rect", { ...box(x, y, width, height), ...this.#line() });
  }

  fillText(text, x, y) {
    const [, weight, size, family] = /^(?:(\w+) )?([\d.]+)px (.*)$/.exec(this.font) ?? [null, "", "12", "sans-serif"];
    const drop = { top: 0.85, middle: 0.35, bottom: -0.2 }[this.textBaseline] ?? 0;
    const made = this.#add("text", {
      x: short(x),
      y: short(y + drop * Number(size)),
      fill: this.fillStyle,
      "font-size": size,
      "font-family": family,
      "font-weight": weight || null,
      "text-anchor": { center: "middle", right: "end", end: "end" }[this.textAlign] ?? null,
    });
    made.textContent = text;
  }

  // A canvas, or a part of it, as an image in the file, or another drawing as a part of this one.
  drawImage(image, ...numbers) {
    if (numbers.length === 8) image = cropped(image, numbers.splice(0, 4));
    const [x, y, width, height] = numbers;
    if (image.namespaceURI === SVG) {
      const part = image.cloneNode(true);
      for (const [name, value] of Object.entries(box(x, y, width, height))) part.setAttribute(name, value);
      this.#parent.append(part);
      return;
    }
    this.#add("image", {
      ...box(x, y, width, height),
      href: image.toDataURL("image/png"),
      preserveAspectRatio: "none",
      "image-rendering": this.imageSmoothingEnabled ? null : "pixelated",
    });
  }

  #line() {
    const dash = this.dash.length > 0 ? this.dash.map(short).join(" ") : null;
    const join = this.lineJoin === "miter" ? null : this.lineJoin;
    const cap = this.lineCap === "butt" ? null : this.lineCap;
    return { fill: "none", "stroke-linecap": cap, stroke: this.strokeStyle, "stroke-width": short(this.lineWidth), "stroke-linejoin": join, "stroke-dasharray": dash };
  }

  #add(tag, attributes) {
    const opacity = this.globalAlpha === 1 ? null : short(this.globalAlpha);
    const made = node(tag, { ...attributes, opacity, transform: this.transform.trim() || null });
    this.#parent.append(made);
    return made;
  }
}

let measuring = null;
let clips = 0;

function cropped(image, [x, y, width, height]) {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(height))];
  const pen = copy.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, x, y, width, height, 0, 0, copy.width, copy.height);
  return copy;
}

function node(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  return made;
}

function box(x, y, width, height) {
  return { x: short(x), y: short(y), width: short(width), height: short(height) };
}

function short(value) {
  return String(Math.round(value * 100) / 100);
}
