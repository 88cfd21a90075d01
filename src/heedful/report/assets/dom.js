// Elements and the words in them. Text reaches the page only as text nodes, never as markup.

// Makes an element. `text` becomes its text, `on` its listeners, `style` its style; all else are attributes, where
// true means present and null, undefined or false means absent.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else if (name === "on") {
      for (const [type, listener] of Object.entries(value)) made.addEventListener(type, listener);
    } else if (name === "style") Object.assign(made.style, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Text that a user gave: it keeps its own direction and cannot turn that of the words around it.
export function given(text, tag = "bdi", properties = {}) {
  return element(tag, { dir: "auto", ...properties, text });
}

let choices = 0;

// A set of buttons of which one is chosen; `options` are pairs of a key and its words.
export function choice(label, options, value, choose) {
  const name = `choice-${choices++}`;
  const inputs = new Map();
  const parts = options.map(([key, words]) => {
    const input = element("input", { type: "radio", name, value: key, on: { change: () => choose(key) } });
    input.checked = key === value;
    inputs.set(key, input);
    return element("label", {}, input, element("span", { text: words }));
  });
  const set = element("fieldset", { class: "choice" }, element("legend", { text: label }), ...parts);
  return { element: set, show: (key) => (inputs.get(key).checked = true) };
}

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const THREE_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const SHARE_DIGITS = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const FIVE_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 5 });

export function whole(value) {
  return WHOLE.format(value);
}

export function number(value, digits = THREE_DIGITS) {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  return size >= 1000 ? whole(value) : digits.format(value);
}

export function precise(value) {
  return number(value, FIVE_DIGITS);
}

// A share of one as a percentage with three digits that count, kept on one line.
export function percent(share) {
  if (share > 0 && share < 1e-5) return "<\u00a00.001\u00a0%";
  return share === 0 ? "0\u00a0%" : `${SHARE_DIGITS.format(share * 100)}\u00a0%`;
}

// The positions from `start` up to, but not with, `end`.
export function span(start, end) {
  return end - start <= 1 ? whole(start) : `${whole(start)} to ${whole(end - 1)}`;
}
