// The whole map, small, with a frame around the part in view; pressing it moves the view.
import { element } from "./dom.js";
import { openCanvas } from "./drawing.js";
import { boxOf, drawTile } from "./map-draw.js";
import { moved, wholeOf } from "./map-viewport.js";
import { canvasPen } from "./pen.js";

const SIZE = 112; // pixels
const LEAST_FRAME = 8;

// `current()` is { view, frame }; `goTo(view)` moves the map.
export function miniMap({ current, goTo }) {
  const canvas = element("canvas", { class: "map-mini-canvas", "aria-hidden": "true" });
  const marker = element("div", { class: "map-mini-frame" });
  const root = element("div", { class: "map-mini", "aria-hidden": "true" }, canvas, marker);
  let drawn = { tile: null, kind: null };
  root.addEventListener("pointerdown", centerAt);
  root.addEventListener("pointermove", (event) => event.buttons === 1 && centerAt(event));

  function centerAt(event) {
    const { view, frame } = current();
    if (view === null) return;
    const [i, j] = [(event.offsetY / root.clientHeight) * frame.queries, (event.offsetX / root.clientWidth) * frame.keys];
    goTo(moved(view, i - (view.top + view.bottom) / 2, j - (view.left + view.right) / 2, frame));
  }

  return {
    element: root,
    // The map is drawn once; what changes is the frame of the part in view.
    show(tile, kind, { view, frame }, isAll) {
      root.style.visibility = isAll ? "hidden" : "visible";
      const [w, h] = [SIZE * Math.min(1, Math.max(0.3, frame.keys / frame.queries)), SIZE * Math.min(1, Math.max(0.3, frame.queries / frame.keys))];
      Object.assign(root.style, { width: `${Math.round(w)}px`, height: `${Math.round(h)}px` });
      if (isAll || tile === null) return;
      const { x, y, width, height } = boxOf({ x: 0, y: 0, width: Math.round(w), height: Math.round(h) }, wholeOf(frame), view);
      const [wide, high] = [Math.max(LEAST_FRAME, width), Math.max(LEAST_FRAME, height)];
      const within = (at, size, most) => Math.min(most - size, Math.max(0, at));
      Object.assign(marker.style, { width: `${wide}px`, height: `${high}px`, transform: `translate(${within(x - (wide - width) / 2, wide, w)}px, ${within(y - (high - height) / 2, high, h)}px)` });
      if (drawn.tile === tile && drawn.kind === kind) return;
      const open = openCanvas(canvas);
      if (open === null) return;
      drawTile(canvasPen(open.context), tile, wholeOf(frame), { x: 0, y: 0, width: open.width, height: open.height }, kind);
      drawn = { tile, kind };
    },
  };
}
