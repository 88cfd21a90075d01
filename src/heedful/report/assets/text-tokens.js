// How tokens look in a text: without the marks of tokenizers, with signs for what cannot be seen, cut where they are long.

const MOST_LETTERS = 48; // of one token that are shown
const LAST_LETTERS = 6; // of these, behind the gap
const MOST_WHOLE = 1000; // of one token as it is held
const SAMPLE = 2000; // tokens that say which way a text runs

// What stands for letters that cannot be seen, and their names.
const SIGNS = {
  0x00: ["NUL", "null"],
  0x09: ["tab", "tab"],
  0x0a: ["\u21b5", "line feed"],
  0x0d: ["CR", "carriage return"],
  0x1b: ["ESC", "escape"],
  0x20: ["space", "space"],
  0xa0: ["nbsp", "no-break space"],
  0xad: ["soft hyphen", "soft hyphen"],
  0x34f: ["CGJ", "combining grapheme joiner"],
  0x200b: ["ZWSP", "zero width space"],
  0x200c: ["ZWNJ", "zero width non-joiner"],
  0x200d: ["ZWJ", "zero width joiner"],
  0x200e: ["LRM", "left-to-right mark"],
  0x200f: ["RLM", "right-to-left mark"],
  0x2028: ["\u21b5", "line separator"],
  0x2029: ["\u21b5", "paragraph separator"],
  0x202a: ["LRE", "left-to-right embedding"],
  0x202b: ["RLE", "right-to-left embedding"],
  0x202c: ["PDF", "pop directional formatting"],
  0x202d: ["LRO", "left-to-right override"],
  0x202e: ["RLO", "right-to-left override"],
  0x2060: ["WJ", "word joiner"],
  0x2066: ["LRI", "left-to-right isolate"],
  0x2067: ["RLI", "right-to-left isolate"],
  0x2068: ["FSI", "first strong isolate"],
  0x2069: ["PDI", "pop directional isolate"],
  0x3000: ["wide space", "ideographic space"],
  0xfeff: ["BOM", "byte order mark"],
};
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Cn}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;
const SEEN_FORMAT = /[\u0600-\u0605\u06dd\u070f\u08e2]/u; // signs of Arabic and Syriac that are seen
const OF_EMOJI = /[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f\u{e0020}-\u{e007f}]/u;
const JOINED = /(?!\p{Script=Latin})[\p{L}\p{M}]/u;
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const LETTER = /\p{L}/u;

// A text as it is shown: { style, isRightToLeft, show(start, end) }, where `show` gives tokens as one:
// { parts: [{ text, isSign }], text, title, isSpaced, breaks }.
export function readTokens(side) {
  if (!READ.has(side)) READ.set(side, side.kind === "text" ? readText(side) : readNames(side));
  return READ.get(side);
}

const READ = new WeakMap();

function readNames(side) {
  const style = "plain";
  const names = side.names ?? null;
  const show = (start) => {
    const raw = names === null ? String(start) : (names[start] ?? String(start));
    return { ...partsOf(raw), title: cut(raw, MOST_WHOLE), isSpaced: true };
  };
  return { style, isRightToLeft: false, show };
}

function readText(side) {
  const { tokens, words } = side;
  const style = styleOf(tokens);
  const show = (start, end = start + 1) => {
    const raw = end === start + 1 ? tokens[start] : tokens.slice(start, end).join(style === "joined" ? "\u0001" : "");
    const { text, isSpaced } = cleaned(raw, style);
    const goesOn = words !== null && start > 0 && words[start] >= 0 && words[start] === words[start - 1];
    const isOwn = style === "plain" ? !goesOn : isSpaced;
    return { ...partsOf(text), title: titleOf(raw.replaceAll("\u0001", " + ")), isSpaced: isOwn };
  };
  return { style, isRightToLeft: runsRightToLeft(tokens), show };
}

// How a tokenizer says where words begin. "bytes": as GPT-2; "pieces": as SentencePiece; "joined": as WordPiece;
// "spaced": with spaces; "plain": not at all.
function styleOf(tokens) {
  if (tokens.some((token) => /[\u0120\u010a]/.test(token))) return "bytes";
  if (tokens.some((token) => token.includes("\u2581"))) return "pieces";
  if (tokens.some((token) => /^ \S/.test(token))) return "spaced";
  return tokens.some((token) => /^##[^\s#]/.test(token)) ? "joined" : "plain";
}

// A token without the marks of its tokenizer, and whether a space stands before it.
function cleaned(raw, style) {
  if (style === "joined") return { text: raw.split("\u0001").map((part) => part.replace(/^##(?=[^\s#])/, "")).join(""), isSpaced: !/^##[^\s#]/.test(raw) };
  const text = style === "bytes" ? decoded(raw) : style === "pieces" ? raw.replaceAll("\u2581", " ").replace(/^<0x([0-9A-F]{2})>$/, byteSign) : raw;
  if (style === "plain") return { text, isSpaced: true };
  return /^ (?! *$)/.test(text) ? { text: text.slice(1), isSpaced: true } : { text, isSpaced: false };
}

function byteSign(whole, digits) {
  const byte = parseInt(digits, 16);
  return byte < 128 ? String.fromCharCode(byte) : whole;
}

// Bytes that GPT-2 writes as letters, read as UTF-8; unchanged where they are none or only a part of a letter.
function decoded(raw) {
  const bytes = [];
  for (const letter of raw) {
    const byte = BYTES.get(letter);
    if (byte === undefined) return raw;
    bytes.push(byte);
  }
  try {
    return UTF_8.decode(new Uint8Array(bytes));
  } catch {
    return raw;
  }
}

const UTF_8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const BYTES = (() => {
  const bytes = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isSeen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCharCode(isSeen ? byte : next++), byte);
  }
  return bytes;
})();

// Text in runs that can be seen and signs for what cannot: { parts, text, breaks }.
function partsOf(text) {
  const breaks = /[\n\u2028\u2029]/.test(text);
  if (text === "") return { parts: [{ text: "empty", isSign: true }], text: "empty", breaks };
  if (/^ +$/.test(text)) return ofSign(text.length === 1 ? "space" : `space \u00d7${text.length}`, breaks);
  const parts = [];
  let before = "";
  const letters = [...cut(text, MOST_LETTERS).replaceAll("\r\n", "\n")];
  letters.forEach((letter, i) => {
    const code = letter.codePointAt(0);
    const isSign = letter !== " " && code in SIGNS ? !keepsShape(letter, before, letters[i + 1]) : isUnseen(letter, before);
    if (isSign) parts.push({ text: SIGNS[code]?.[0] ?? named(code), isSign: true });
    else if (parts.length && !parts.at(-1).isSign) parts.at(-1).text += letter;
    else parts.push({ text: /^\p{M}/u.test(letter) ? `\u25cc${letter}` : letter, isSign: false });
    before = isSign ? "" : letter;
  });
  return { parts, text: parts.map((part) => part.text).join(""), breaks };
}

function ofSign(text, breaks) {
  return { parts: [{ text, isSign: true }], text, breaks };
}

// Joiners belong to an emoji, and between letters of scripts in which they change a shape.
function keepsShape(letter, before, after) {
  if (letter !== "\u200c" && letter !== "\u200d") return false;
  return after !== undefined && (OF_EMOJI.test(before) || (JOINED.test(before) && JOINED.test(after)));
}

function isUnseen(letter, before) {
  if (!UNSEEN.test(letter) || SEEN_FORMAT.test(letter)) return false;
  const isVariant = /[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/u.test(letter) || OF_EMOJI.test(letter);
  return !(isVariant && before !== "");
}

function named(code) {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

// Text of at most so many letters, its middle left out.
function cut(text, most) {
  if (text.length <= most) return text;
  const [head, tail] = [[...text.slice(0, 2 * most)], [...text.slice(-2 * LAST_LETTERS)]];
  if (head.length <= most && text.length <= 2 * most) return text;
  return `${head.slice(0, most - LAST_LETTERS - 1).join("")}\u2026${tail.slice(-LAST_LETTERS).join("")}`;
}

// A token as it is held, with the names of what cannot be seen in it.
function titleOf(raw) {
  const shown = cut(raw, MOST_WHOLE);
  const names = new Set();
  for (const letter of shown) {
    const code = letter.codePointAt(0);
    if (letter === " " && raw.trim() !== "") continue;
    if (code in SIGNS) names.add(`${named(code)} ${SIGNS[code][1]}`);
    else if (UNSEEN.test(letter)) names.add(named(code));
  }
  const length = shown === raw ? "" : `\n${raw.length} letters`;
  return `${shown}${length}${names.size ? `\n${[...names].slice(0, 8).join(", ")}` : ""}`;
}

function runsRightToLeft(tokens) {
  let balance = 0;
  for (const token of tokens.slice(0, SAMPLE)) {
    const start = token.slice(0, MOST_LETTERS);
    if (RIGHT_TO_LEFT.test(start)) balance += 1;
    else if (LETTER.test(start)) balance -= 1;
  }
  return balance > 0;
}
