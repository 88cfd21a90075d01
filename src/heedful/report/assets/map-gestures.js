// Mouse, touch and wheel on a map that can be moved and enlarged.

const [STILL, WHEEL_STEP, PAGE_MOVES] = [4, 0.0022, 250]; // pixels, factor's exponent a pixel, milliseconds
const LINE = 16; // pixels of a wheel's line

// `map` has isWhole(), hover(x, y), leave(), click(x, y, isSecond), move(dx, dy), zoom(factor, x, y), frame(box or null)
// while a box is drawn, and enlarge(box) at its end; all in CSS pixels of the canvas.
export function watchGestures(canvas, map) {
  const down = new Map(); // pointers by id: { x, y }
  let start = null; // of a drag: { x, y, isBox, hasMoved }
  let pageMoved = -Infinity;
  window.addEventListener("scroll", () => (pageMoved = performance.now()), { passive: true });

  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    down.set(event.pointerId, pointOf(event));
    canvas.setPointerCapture(event.pointerId);
    start = down.size === 1 ? { ...pointOf(event), isBox: event.shiftKey, hasMoved: false } : { ...start, isBox: false, hasMoved: true };
  });
  canvas.addEventListener("pointermove", (event) => {
    const point = pointOf(event);
    const last = down.get(event.pointerId);
    if (last === undefined) {
      if (event.pointerType !== "touch") map.hover(point.x, point.y);
      return;
    }
    if (down.size === 1) drag(last, point);
    else if (down.size === 2) pinch(event.pointerId, last, point);
    if (start.hasMoved || down.size > 1) down.set(event.pointerId, point);
  });
  const up = (event) => {
    if (!down.delete(event.pointerId) || start === null) return;
    const point = pointOf(event);
    if (start.isBox && start.hasMoved) {
      map.frame(null);
      if (event.type === "pointerup") map.enlarge(boxFrom(start, point));
    } else if (!start.hasMoved && event.type === "pointerup") map.click(point.x, point.y, isSecondClick(point));
    if (down.size === 0) {
      canvas.classList.remove("map-moving");
      start = null;
    }
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch" && down.size === 0) map.leave();
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      // The page goes on moving where it was moved just now, and where there is nothing to make smaller.
      const pixels = event.deltaY * (event.deltaMode === 1 ? LINE : 1);
      const isPinch = event.ctrlKey;
      if (!isPinch && (performance.now() - pageMoved < PAGE_MOVES || event.shiftKey || pixels === 0)) return;
      if (pixels > 0 && map.isWhole() && !isPinch) return;
      event.preventDefault();
      const { x, y } = pointOf(event);
      map.zoom(Math.exp(Math.max(-240, Math.min(240, pixels)) * WHEEL_STEP * (isPinch ? 4 : 1)), x, y);
    },
    { passive: false },
  );

  let lastClick = null;
  function isSecondClick(point) {
    const now = performance.now();
    const isSecond = lastClick !== null && now - lastClick.time < 350 && Math.hypot(point.x - lastClick.x, point.y - lastClick.y) < 12;
    lastClick = isSecond ? null : { ...point, time: now };
    return isSecond;
  }

  function drag(last, point) {
    if (!start.hasMoved && Math.hypot(point.x - start.x, point.y - start.y) < STILL) return;
    start.hasMoved = true;
    if (start.isBox) map.frame(boxFrom(start, point));
    else {
      canvas.classList.add("map-moving");
      map.move(point.x - last.x, point.y - last.y);
    }
  }

  function pinch(id, last, point) {
    const [, other] = [...down].find(([key]) => key !== id);
    const [before, after] = [Math.hypot(last.x - other.x, last.y - other.y), Math.hypot(point.x - other.x, point.y - other.y)];
    map.move((point.x - last.x) / 2, (point.y - last.y) / 2);
    if (before > 0 && after > 0) map.zoom(before / after, (point.x + other.x) / 2, (point.y + other.y) / 2);
  }
}

function pointOf(event) {
  return { x: event.offsetX, y: event.offsetY };
}

function boxFrom(a, b) {
  return { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
}
