// The numbers of the report: each array stands as base64 in its own text block and is decoded when it is first needed.

const DECODED = new WeakMap();

// Returns the typed array behind a reference { block, dtype, shape }.
export function readArray(reference) {
  if (!DECODED.has(reference)) {
    const bytes = bytesOf(document.getElementById(`block-${reference.block}`).textContent);
    DECODED.set(reference, READERS[reference.dtype](bytes));
  }
  return DECODED.get(reference);
}

// Returns a promise of the typed array behind a reference that may be compressed or multiplied by a factor.
export async function loadArray(reference) {
  if (reference.coding !== "deflate") return readArray(reference);
  if (!LOADED.has(reference)) LOADED.set(reference, inflated(reference));
  return LOADED.get(reference);
}

async function inflated(reference) {
  const packed = bytesOf(document.getElementById(`block-${reference.block}`).textContent);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const array = READERS[reference.dtype](bytes);
  if (reference.factor !== undefined) for (let i = 0; i < array.length; i++) array[i] /= reference.factor;
  return array;
}

const LOADED = new WeakMap();
const READERS = {
  uint8: (bytes) => bytes,
  uint16: (bytes) => new Uint16Array(bytes.buffer),
  uint32: (bytes) => new Uint32Array(bytes.buffer),
  float32: (bytes) => new Float32Array(bytes.buffer),
  float16: (bytes) => floatsOf(new Uint16Array(bytes.buffer)),
};

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

let halfTable = null;

function floatsOf(halves) {
  halfTable ??= Float32Array.from({ length: 65536 }, (_, bits) => floatOf(bits));
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) floats[i] = halfTable[halves[i]];
  return floats;
}

// One number of IEEE 754 half precision: a sign bit, five bits of exponent, ten of fraction.
function floatOf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
