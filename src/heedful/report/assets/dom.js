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
export function userText(text, tag = "bdi", properties = {}) {
  const made = element(tag, { dir: "auto", ...properties, text });
  return tag === "bdi" || tag === "span" ? made : long(made);
}

// Once a text fills its greatest height it scrolls, and the keyboard reaches it.
const heights = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const isFull = target.clientHeight >= Number.parseFloat(window.getComputedStyle(target).maxHeight) - 1;
    if (target.classList.toggle("scrolls", isFull) !== (target.tabIndex === 0)) target.tabIndex = isFull ? 0 : -1;
  }
});

export function long(made) {
  heights.observe(made);
  return made;
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

// A labeled list of options; `options` are pairs of a value and its words.
export function picker(label, options, choose, properties = {}) {
  const select = element("select", { ...properties, on: { change: () => choose(select.value) } });
  const setOptions = (pairs) => select.replaceChildren(...pairs.map(([value, words]) => element("option", { value, text: words })));
  setOptions(options);
  return {
    element: element("label", { class: "picker" }, element("span", { text: label }), select),
    setOptions,
    show: (value) => (select.value = value),
  };
}
