// What a reader has set for all pictures of the report at once.

const LISTENERS = [];

export const SETTINGS = { scale: "linear", opacity: 0.7 };

export function changeSettings(change) {
  Object.assign(SETTINGS, change);
  for (const listener of LISTENERS) listener(SETTINGS);
}

export function onSettings(listener) {
  LISTENERS.push(listener);
}
