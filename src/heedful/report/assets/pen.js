// Drawing in short: lines, words, areas, boxes and images on a canvas, or on one that writes SVG (svg-canvas.js).
import { trace } from "./axes.js";
import { lastWhere } from "./cells.js";

const FONT = "system-ui, sans-serif";

export function canvasPen(context) {
  const styled = (color, alpha) => {
    context.globalAlpha = alpha;
    context.fillStyle = color;
    context.strokeStyle = color;
  };
  return {
    line(x0, y0, x1, y1, { color, alpha = 1, width = 1 }) {
      styled(color, alpha);
      context.lineWidth = width;
      trace(context, [[x0, y0], [x1, y1]]);
      context.stroke();
    },
    rect({ x, y, width, height }, { color, alpha = 1 }) {
      styled(color, alpha);
      context.isCrisp = true; // for SVG: no seams between cells
      context.fillRect(x, y, width, height);
      context.isCrisp = false;
    },
    frame({ x, y, width, height }, { color, line = 1 }) {
      styled(color, 1);
      context.lineWidth = line;
      context.strokeRect(x, y, width, height);
    },
    shape(points, { fill = null, color = null, alpha = 1 }) {
      styled(fill ?? color, alpha);
      context.lineWidth = 1.25;
      trace(context, points);
      if (fill !== null) context.fill();
      else context.stroke();
    },
    // `align` is "left", "center" or "right", `turned` writes upwards; what is wider than `maxWidth` ends in an ellipsis.
    words(text, x, y, { color, size = 12, align = "left", turned = false, weight = 400, maxWidth = Infinity }) {
      styled(color, 1);
      context.font = `${weight} ${size}px ${FONT}`;
      context.textAlign = align;
      context.textBaseline = "middle";
      context.direction = "ltr";
      const fitting = fitted(context, text, maxWidth);
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

// The longest beginning of a text that fits into some pixels, with an ellipsis where it is cut.
export function fitted(context, text, maxWidth) {
  if (maxWidth === Infinity || context.measureText(text).width <= maxWidth) return text;
  const letters = [...text];
  const cut = (count) => `${letters.slice(0, count).join("")}\u2026`;
  return cut(lastWhere(letters.length, (count) => context.measureText(cut(count)).width <= maxWidth));
}
