// Light or dark: as the system says, or as the page's address says (#theme=dark). Nothing is stored.
import { element } from "./dom.js";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const NAMES = ["ink", "muted", "line", "accent", "panel"];

// The address behind "#": at most one section, one theme, and what the section shows, "section-3&theme=dark&layer=2".
export function readAddress() {
  const parts = window.location.hash.slice(1).split("&");
  const pairs = parts.filter((part) => /^[a-z]+=/.test(part)).map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]);
  const { theme, ...view } = Object.fromEntries(pairs.map(([name, value]) => [name, unescaped(value)]));
  return {
    section: parts.find((part) => /^section-\d+$/.test(part)) ?? null,
    theme: theme === "light" || theme === "dark" ? theme : null,
    view,
  };
}

// Changes what is named; `view` replaces all that the section shows.
export function writeAddress(change) {
  const { section, theme, view } = { ...readAddress(), ...change };
  const parts = [section, theme && `theme=${theme}`, ...Object.entries(view).map(([name, value]) => `${name}=${encodeURIComponent(value)}`)];
  try {
    window.history.replaceState(null, "", `#${parts.filter(Boolean).join("&")}`);
  } catch {
    // in the frame of a notebook the page has no address of its own
  }
}

function unescaped(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function isDark() {
  const theme = readAddress().theme;
  return theme === null ? DARK.matches : theme === "dark";
}

// The button that changes the theme; `changed` is called after any change, also one by the system or for printing.
export function themeButton(changed) {
  const button = element("button", { type: "button", class: "quiet" });
  const apply = () => {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    changed();
  };
  button.addEventListener("click", () => {
    writeAddress({ theme: isDark() ? "light" : "dark" });
    apply();
  });
  DARK.addEventListener("change", apply);
  window.addEventListener("hashchange", apply);
  return { element: button, apply };
}

// The colours of the style sheet for what is drawn on a canvas.
export function palette() {
  const probe = element("span");
  document.body.append(probe);
  const colours = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colours[name] = window.getComputedStyle(probe).color;
  }
  probe.remove();
  return colours;
}
