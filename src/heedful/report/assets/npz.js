// NumPy's files: columns of numbers and of text as a .npz, which is a zip of .npy members that are stored as they are.

const MOST_TEXT = 2 ** 27; // bytes of one column of text
const ALIGNED = 64;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

// The parts of a .npz, to be put into a Blob: one array a column, called by its header.
export function npzParts({ header, rows }) {
  const names = memberNames(header);
  return zipParts(names.map((name, column) => [`${name}.npy`, npy(rows.map((row) => row[column]))]));
}

// One array of one axis: float64 where all are numbers (none: NaN), else text.
function npy(values) {
  return isNumeric(values) ? floats(values) : texts(values.map((value) => (value === null || value === undefined ? "" : String(value))));
}

function isNumeric(values) {
  return values.every((value) => value === null || value === undefined || typeof value === "number") && values.some((value) => typeof value === "number");
}

function floats(values) {
  const [bytes, start] = opened("<f8", values.length, 8);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setFloat64(start + 8 * i, value ?? NaN, true));
  return bytes;
}

// Four bytes a character, all texts as long as the longest; one that would make the file huge is cut.
function texts(values) {
  const most = Math.max(16, Math.floor(MOST_TEXT / (4 * Math.max(1, values.length))));
  const codes = values.map((value) => Array.from(value.slice(0, 2 * most), (letter) => letter.codePointAt(0)).slice(0, most));
  const width = codes.reduce((longest, code) => Math.max(longest, code.length), 1);
  const [bytes, start] = opened(`<U${width}`, values.length, 4 * width);
  const view = new DataView(bytes.buffer);
  codes.forEach((code, i) => code.forEach((point, at) => view.setUint32(start + 4 * (i * width + at), isLone(point) ? 0xfffd : point, true)));
  return bytes;
}

// Half of a character of two halves: no text of Python's could be written anywhere with it.
function isLone(point) {
  return point >= 0xd800 && point < 0xe000;
}

// A .npy with space for its numbers, and where these begin.
function opened(type, length, size) {
  const words = `{'descr': '${type}', 'fortran_order': False, 'shape': (${length},), }`;
  const start = Math.ceil((10 + words.length + 1) / ALIGNED) * ALIGNED;
  const bytes = new Uint8Array(start + length * size);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, (start - 10) & 255, (start - 10) >> 8]); // "\x93NUMPY", version 1.0
  bytes.set(new TextEncoder().encode(`${words.padEnd(start - 11)}\n`), 10);
  return [bytes, start];
}

// Names that a zip can hold, each once.
function memberNames(header) {
  const taken = new Set();
  return header.map((words, column) => {
    const plain = words.replace(/[\u0000-\u001f/\\:*?"<>|]+/g, "_").slice(0, 100).trim() || `column ${column}`;
    let name = plain;
    for (let next = 2; taken.has(name); next++) name = `${plain} ${next}`;
    taken.add(name);
    return name;
  });
}

function zipParts(members) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const [name, bytes] of members) {
    const title = new TextEncoder().encode(name);
    const facts = entry(bytes, title.length);
    parts.push(record(0x04034b50, 30, facts), title, bytes);
    directory.push(record(0x02014b50, 46, facts, offset), title);
    offset += 30 + title.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, members.length, true);
  end.setUint16(10, members.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return [...parts, ...directory, new Uint8Array(end.buffer)];
}

function entry(bytes, titleLength) {
  return { crc: crcOf(bytes), size: bytes.length, titleLength };
}

// The head of a member: before its bytes, or, four bytes longer at the same fields, in the list at the end of the file.
function record(signature, length, { crc, size, titleLength }, offset = null) {
  const view = new DataView(new ArrayBuffer(length));
  const at = offset === null ? 0 : 2;
  view.setUint32(0, signature, true);
  if (offset !== null) view.setUint16(4, 20, true);
  view.setUint16(4 + at, 20, true);
  view.setUint16(6 + at, 0x800, true); // the name is UTF-8
  view.setUint16(12 + at, 0x21, true); // the first day that a zip can name: a file says nothing of when it was made
  view.setUint32(14 + at, crc, true);
  view.setUint32(18 + at, size, true);
  view.setUint32(22 + at, size, true);
  view.setUint16(26 + at, titleLength, true);
  if (offset !== null) view.setUint32(42, offset, true);
  return new Uint8Array(view.buffer);
}

function crcOf(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
