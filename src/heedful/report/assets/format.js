// Numbers as words.

const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const THREE_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 3 });
const SHARE_DIGITS = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const FIVE_DIGITS = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 5 });

export function whole(value) {
  return WHOLE.format(value);
}

export function number(value, digits = THREE_DIGITS) {
  if (Number.isNaN(value)) return "NaN";
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(2);
  return size >= 1000 ? whole(value) : digits.format(value);
}

export function precise(value) {
  return number(value, FIVE_DIGITS);
}

// A share of one as a percentage with three digits that count, kept on one line.
export function percent(share) {
  if (Number.isNaN(share)) return "NaN";
  if (share > 0 && share < 1e-5) return "<\u00a00.001\u00a0%";
  return share === 0 ? "0\u00a0%" : `${SHARE_DIGITS.format(share * 100)}\u00a0%`;
}

// The same with five digits.
export function precisePercent(share) {
  return Number.isNaN(share) ? "NaN" : `${number(100 * share, FIVE_DIGITS)}\u00a0%`;
}

// The positions from `start` up to, but not with, `end`.
export function span(start, end) {
  return end - start <= 1 ? whole(start) : `${whole(start)} to ${whole(end - 1)}`;
}
