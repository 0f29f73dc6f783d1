/**
 * Rows of keys or values, in the bytes that GGUF gives to a row of the tensor type of the same name.
 *
 * @module
 */
import type { KvFormat } from "../kv_format.ts";
import type { KvRaw } from "../kv_part.ts";
import {
  headOf,
  inGroups,
  kvBits,
  type KvHead,
  kvLayouts,
  kvMinimumBytes,
  kvScales,
  outlierBytes,
  outlierCount,
} from "./kv_layout.ts";

/** Bytes of one position of a head of so many values. */
export function rowBytes(given: KvFormat | KvHead, length: number): number {
  return length * kvBits(given, length) / 8;
}

/**
 * Decodes rows of keys whose scales belong to groups of tokens: [group n][length], the first of a group first.
 * A row has an equal part of the scales, minimums and outliers of its group.
 */
export function decodeGroups(
  head: KvHead,
  rows: Uint8Array<ArrayBuffer>,
  length: number,
): Float32Array<ArrayBuffer> {
  const { format, group } = head;
  const size = rowBytes(head, length);
  const count = rows.length / size;
  const out = new Float32Array(count * length);
  const halves = tableOf("f16");
  const view = new DataView(rows.buffer, rows.byteOffset);
  const codeBytes = length * kvLayouts[format].codeBits / 8;
  const termBytes = 2 + kvMinimumBytes(head);
  const zero = zeroOf(head);
  const share = length / group;
  for (let row = 0; row < count; row++) {
    const first = row - row % group;
    const codes = unpacked(rows.subarray(row * size, row * size + codeBytes), format);
    for (let i = 0; i < length; i++) {
      const term = (first + Math.floor(i / share)) * size + codeBytes + termBytes * (i % share);
      const minimum = termBytes > 2 ? halves[view.getUint16(term + 2, true)]! : 0;
      // The product is exact.
      out[row * length + i] = (codes[i]! - zero) * halves[view.getUint16(term, true)]! + minimum;
    }
  }
  const entries = outliersIn(head, rows, length);
  const inGroup = outlierCount(head, length);
  for (let i = 0; i < entries.length / 2; i++) {
    const first = Math.floor(i / inGroup) * group * length;
    out[first + entries[2 * i]!] = halves[entries[2 * i + 1]!]!;
  }
  return out;
}

/** What a code of a symmetric format is less by. */
function zeroOf({ format, symmetric }: KvHead): number {
  return symmetric ? 2 ** (kvLayouts[format].codeBits - 1) : 0;
}

/** Places and values at the ends of rows, in their order. */
function outliersIn(
  head: KvHead,
  rows: Uint8Array<ArrayBuffer>,
  length: number,
): Uint16Array<ArrayBuffer> {
  const size = rowBytes(head, length);
  const tokens = head.which === "key" ? head.group : 1;
  const own = outlierCount(head, length) / tokens * outlierBytes;
  const bytes = new Uint8Array(rows.length / size * own);
  for (let row = 0; own > 0 && row < rows.length / size; row++) {
    bytes.set(rows.subarray((row + 1) * size - own, (row + 1) * size), row * own);
  }
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}

/** Codes that fill bytes from their lowest bits on. */
function unpacked(bytes: Uint8Array, format: KvFormat): Uint8Array {
  const { codeBits } = kvLayouts[format];
  const inByte = 8 / codeBits;
  const mask = 2 ** codeBits - 1;
  return Uint8Array.from(
    { length: bytes.length * inByte },
    (_, i) => bytes[Math.floor(i / inByte)]! >> (i % inByte * codeBits) & mask,
  );
}

/**
 * Takes rows in such a format apart: of values, or of keys of whole groups, whose terms are then those of the
 * channels of each group, one after the other.
 */
function rawGrouped(head: KvHead, rows: Uint8Array<ArrayBuffer>, length: number): KvRaw {
  const size = rowBytes(head, length);
  const count = rows.length / size;
  const codes = new Uint8Array(count * length);
  const inRow = kvScales(head, length);
  const minimumBytes = kvMinimumBytes(head);
  const scales = new Uint16Array(count * inRow);
  const minimums = new Uint16Array(minimumBytes === 0 ? 0 : count * inRow);
  const view = new DataView(rows.buffer, rows.byteOffset);
  const codeBytes = length * kvLayouts[head.format].codeBits / 8;
  for (let row = 0; row < count; row++) {
    const own = rows.subarray(row * size, row * size + codeBytes);
    codes.set(unpacked(own, head.format), row * length);
    for (let u = 0; u < inRow; u++) {
      const at = row * size + codeBytes + (2 + minimumBytes) * u;
      scales[row * inRow + u] = view.getUint16(at, true);
      if (minimumBytes > 0) minimums[row * inRow + u] = view.getUint16(at + 2, true);
    }
  }
  return { codes, scales, minimums, outliers: outliersIn(head, rows, length) };
}

/** Takes rows of so many values apart as `KvCache.read` does with `view: "raw"`. */
export function rawRows(
  given: KvFormat | KvHead,
  rows: Uint8Array<ArrayBuffer>,
  length: number,
): KvRaw {
  const head = headOf(given);
  const { format } = head;
  const none = new Uint16Array(0);
  const floats = { scales: none, minimums: none, outliers: none };
  const all = () => rows.slice().buffer;
  if (format === "f32") return { codes: new Float32Array(all()), ...floats };
  if (format === "f16" || format === "bf16") return { codes: new Uint16Array(all()), ...floats };
  if (inGroups(format)) return rawGrouped(head, rows, length);
  const { scaleBytes, minimumBytes, codeBits } = kvLayouts[format];
  if (scaleBytes === 0) return { codes: rows.slice(), ...floats };
  const positions = rows.length / rowBytes(format, length);
  const count = positions * kvScales(format, length);
  const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  const codes = new (codeBits === 8 ? Int8Array : Uint8Array)(positions * length);
  const scales = new (scaleBytes === 1 ? Uint8Array : Uint16Array)(count);
  const minimums = new Uint16Array(minimumBytes === 0 ? 0 : count);
  let [at, term] = [0, 0];
  for (const block of blocksOf(format, length, positions)) {
    // Scales of a block come first, with their minimums.
    for (let i = 0; i < block.scales; i++, term++) {
      scales[term] = scaleBytes === 1 ? view.getUint8(at) : view.getUint16(at, true);
      if (minimumBytes > 0) minimums[term] = view.getUint16(at + scaleBytes, true);
      at += scaleBytes + minimumBytes;
    }
    for (let i = 0; i < block.values; i++) {
      codes[block.from + i] = codeOf(view, at, i, block.values / block.scales, codeBits);
    }
    at += block.values * codeBits / 8;
  }
  return { codes, scales, minimums, outliers: none };
}

/** The blocks of rows: GGUF's, of which the last of a row may end early, or a head of `int8`. */
function* blocksOf(
  format: KvFormat,
  length: number,
  positions: number,
): Generator<{ from: number; values: number; scales: number }> {
  const { perHead, scaleLength } = kvLayouts[format];
  const whole = perHead ? length : format === "nvfp4" ? 64 : scaleLength;
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < length; i += whole) {
      const values = Math.min(whole, length - i);
      yield { from: position * length + i, values, scales: perHead ? 1 : values / scaleLength };
    }
  }
}

/**
 * Code `i` of a block. Below 8 bits, nibbles come last, the low ones of as many values as share a scale
 * before the high ones, and the fifth bits come before them.
 */
function codeOf(block: DataView, from: number, i: number, shared: number, bits: number): number {
  if (bits === 8) return block.getInt8(from + i);
  const nibbles = from + (bits === 5 ? 4 : 0);
  const half = shared / 2;
  const byte = block.getUint8(nibbles + Math.floor(i / shared) * half + i % half);
  const low = byte >> (i % shared < half ? 0 : 4) & 15;
  return bits === 5 ? low | (block.getUint8(from + (i >> 3)) >> (i & 7) & 1) << 4 : low;
}

/** The numbers that rows stand for. */
export function decodeRows(
  given: KvFormat | KvHead,
  rows: Uint8Array<ArrayBuffer>,
  length: number,
): Float32Array<ArrayBuffer> {
  const { codes, scales, minimums, outliers } = rawRows(given, rows, length);
  const head = headOf(given);
  const { format } = head;
  if (codes instanceof Float32Array) return codes;
  const out = new Float32Array(codes.length);
  if (kvLayouts[format].scaleBytes === 0) {
    const table = tableOf(format);
    for (let i = 0; i < out.length; i++) out[i] = table[codes[i]!]!;
    return out;
  }
  const unit = codes.length / scales.length;
  const zero = zeroOf(head);
  const number = numbers[format] ?? ((code: number) => code - zero);
  const halves = tableOf("f16");
  const scaleOf = scaleDecoder(format);
  for (let i = 0; i < out.length; i++) {
    const of = Math.floor(i / unit);
    // Rounded after the product and again after the sum, as the engine does it.
    const product = Math.fround(number(codes[i]!) * scaleOf(scales[of]!));
    out[i] = minimums.length === 0 ? product : product + halves[minimums[of]!]!;
  }
  const inRow = outlierCount(head, length);
  for (let i = 0; i < outliers.length / 2; i++) {
    out[Math.floor(i / inRow) * length + outliers[2 * i]!] = halves[outliers[2 * i + 1]!]!;
  }
  return out;
}

const tables = new Map<KvFormat, Float32Array>();

/** The number of each code of a float format; made when it is first needed. */
function tableOf(format: KvFormat): Float32Array {
  let table = tables.get(format);
  if (table === undefined) {
    const decode = decoders[format]!;
    const length = 2 ** kvLayouts[format].codeBits;
    table = Float32Array.from({ length }, (_, i) => decode(i));
    tables.set(format, table);
  }
  return table;
}

const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
const floatOf = (code: number) => code < 8 ? e2m1[code]! : -e2m1[code - 8]! || 0;

/** What the bits of a scale of a format mean. */
export function scaleDecoder(format: KvFormat): (bits: number) => number {
  const halves = tableOf("f16");
  return byteScales[format] ?? ((bits) => halves[bits] as number);
}

/** What scales of one byte are. */
const byteScales: Partial<Record<KvFormat, (scale: number) => number>> = {
  mxfp4: (exponent) => 2 ** (exponent - 127),
  nvfp4: (scale) => small(scale, 3, 7),
};

/** What a code stands for before its scale, where it isn't itself. */
const numbers: Partial<Record<KvFormat, (code: number) => number>> = {
  q5_0: (code) => code - 16,
  q4_0: (code) => code - 8,
  iq4_nl: (code) => levels[code] as number,
  nvfp4: floatOf,
  mxfp4: floatOf,
};

const word = new DataView(new ArrayBuffer(4));

/** A float with so many bits of exponent and mantissa, without its sign. */
function small(bits: number, mantissaBits: number, bias: number): number {
  const exponent = bits >> mantissaBits;
  const mantissa = bits & ((1 << mantissaBits) - 1);
  if (exponent === 0) return mantissa * 2 ** (1 - bias - mantissaBits);
  return (mantissa + (1 << mantissaBits)) * 2 ** (exponent - bias - mantissaBits);
}

function f16(bits: number): number {
  const size = bits & 0x7fff;
  const value = size > 0x7c00 ? NaN : size === 0x7c00 ? Infinity : small(size, 10, 15);
  return bits & 0x8000 ? -value : value;
}

const decoders: Partial<Record<KvFormat, (bits: number) => number>> = {
  f16,
  bf16: (bits) => {
    word.setUint32(0, bits << 16);
    return word.getFloat32(0);
  },
  // No infinity; the largest mantissa of the largest exponent is not a number.
  f8_e4m3: (bits) => {
    const size = bits & 0x7f;
    const value = size === 0x7f ? NaN : small(size, 3, 7);
    return bits & 0x80 ? -value : value;
  },
  // The upper half of an f16.
  f8_e5m2: (bits) => f16(bits << 8),
};
