// Light or dark: as the system says, or as the page's address says (#theme=dark). Nothing is stored.
import { readAddress, writeAddress } from "./address.js";
import { element } from "./dom.js";

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
const NAMES = ["ink", "muted", "line", "accent", "panel"];

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

// The colors of the style sheet for what is drawn on a canvas.
export function palette() {
  const probe = element("span");
  document.body.append(probe);
  const colors = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colors[name] = window.getComputedStyle(probe).color;
  }
  probe.remove();
  return colors;
}
