// The page's address: which section it shows and how, so that a view can be sent to somebody.

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
