/**
 * Writes the benchmark's models: real shapes, random weights, a vocabulary of the right size. The
 * same name, format and seed give the same bytes everywhere.
 *
 * Weights have about the variance of a trained layer (1 / columns), so that activations keep their
 * size through all layers and no logit overflows. A few megabytes of random blocks are made for each
 * format and number of columns; every matrix is that pool from another offset on, again and again,
 * so that a file is written about as fast as the disk takes it.
 *
 * @module
 */

import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import {
  type FileFormat,
  fileFormats,
  type Shape,
  type Tensor,
  tensorBytes,
  type TensorFormat,
  tensorFormats,
  tensorsOf,
} from "./shapes.ts";

const poolBytes = 4 << 20;
const alignment = 32;

/** Writes the file unless it is there. Returns how many bytes it has. */
export function generateModel(
  path: string,
  name: string,
  shape: Shape,
  format: FileFormat,
  seed = 1,
): number {
  const tensors = tensorsOf(shape, format);
  const header = headerBytes(name, shape, format, tensors);
  const total = tensors.reduce((sum, tensor) => sum + aligned(tensorBytes(tensor)), header.length);
  if (existsSync(path)) return total;
  mkdirSync(dirname(path), { recursive: true });
  const { bavail, bsize } = statfsSync(dirname(path));
  if (bavail * bsize < total * 1.05) {
    throw new Error(
      `Expected ${total} free bytes in ${dirname(path)} for ${name}, but found ${bavail * bsize}`,
    );
  }
  const partial = `${path}.partial`;
  const file = openSync(partial, "w");
  try {
    writeAll(file, header);
    const random = new Random(seed);
    const pools = new Map<string, Uint8Array>();
    for (const tensor of tensors) writeTensor(file, tensor, pools, random);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  renameSync(partial, path);
  return total;
}

function writeTensor(
  file: number,
  tensor: Tensor,
  pools: Map<string, Uint8Array>,
  random: Random,
): void {
  const total = tensorBytes(tensor);
  const { bytes } = tensorFormats[tensor.format];
  if (tensor.format === "F32") {
    writeAll(file, new Uint8Array(new Float32Array(total / 4).fill(1).buffer));
  } else {
    const columns = tensor.shape[0] ?? 0;
    const key = `${tensor.format} ${columns}`;
    const pool = pools.get(key) ?? makePool(tensor.format, columns, random);
    pools.set(key, pool);
    let at = random.below(pool.length / bytes) * bytes;
    for (let left = total; left > 0;) {
      const part = pool.subarray(at, Math.min(pool.length, at + left));
      writeAll(file, part);
      left -= part.length;
      at = 0;
    }
  }
  writeAll(file, new Uint8Array(aligned(total) - total));
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at, bytes.length - at);
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** Random blocks whose values have a mean of about 0 and a variance of about 1 / columns. */
export function makePool(format: TensorFormat, columns: number, random: Random): Uint8Array {
  const { bytes, block } = tensorFormats[format];
  const deviation = 1 / Math.sqrt(columns);
  // A row of a small model may be longer than it has to be; whole blocks are all that counts.
  const count = Math.floor(Math.min(poolBytes, 64 * columns * 64 / block * bytes) / bytes);
  const pool = new Uint8Array(count * bytes);
  random.fill(pool);
  const view = new DataView(pool.buffer);
  const half = (at: number, value: number) => view.setUint16(at, toHalf(value), true);
  for (let i = 0; i < count; i++) {
    const at = i * bytes;
    const sign = view.getUint8(at) % 2 === 0 ? 1 : -1;
    switch (format) {
      case "F16":
        half(at, deviation * random.normal());
        break;
      case "Q4_0": // d, 16 bytes: d * (q - 8), whose mean only the sign of d takes away
        half(at, sign * deviation / 4.64);
        break;
      case "Q8_0": // d, 32 bytes: d * q; the quantiser never writes -128
        half(at, deviation / 73.6);
        for (let j = at + 2; j < at + bytes; j++) if (pool[j] === 0x80) pool[j] = 0x81;
        break;
      case "Q4_K": // d, dmin, 12 scales, 128: d * scale * q - dmin * min
        half(at, deviation / 170);
        half(at + 2, 7.5 * deviation / 170);
        break;
      case "Q5_K": // as Q4_K, and 32 bytes of fifth bits
        half(at, deviation / 350);
        half(at + 2, 15.5 * deviation / 350);
        break;
      case "Q6_K": // 128, 64, 16 scales, d: d * scale * (q - 32)
        half(at + 208, deviation / 1367);
        break;
      case "F32":
        view.setFloat32(at, deviation * random.normal(), true);
        break;
    }
  }
  return pool;
}

const halfOf = new DataView(new ArrayBuffer(4));

/** Rounds to the nearest 16-bit float; for magnitudes below 65504. */
export function toHalf(value: number): number {
  halfOf.setFloat32(0, value);
  const bits = halfOf.getUint32(0);
  const sign = bits >>> 16 & 0x8000;
  const magnitude = Math.abs(value);
  // Below the smallest normal number the steps are 2^-24.
  if (magnitude < 2 ** -14) return sign | Math.round(magnitude * 2 ** 24);
  return sign | ((bits & 0x7fff_ffff) - (112 << 23) + 0x1000 >>> 13);
}

/** xorshift32 with a normal draw; speed matters here, quality hardly. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b1 >>> 0) || 1;
  }

  /** 32 bits. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return this.#state = x >>> 0;
  }

  below(limit: number): number {
    return this.next() % Math.max(1, Math.floor(limit));
  }

  fill(bytes: Uint8Array<ArrayBuffer>): void {
    const words = new Uint32Array(bytes.buffer, 0, bytes.length >> 2);
    for (let i = 0; i < words.length; i++) words[i] = this.next();
    for (let i = words.length * 4; i < bytes.length; i++) bytes[i] = this.next();
  }

  /** About normal: the sum of four even draws. */
  normal(): number {
    const even = () => this.next() / 0x8000_0000 - 1;
    return (even() + even() + even() + even()) * Math.sqrt(3) / 2;
  }
}

/** Three special tokens, the bytes, the letters, and made-up words with a space in front. */
export function vocabularyOf(count: number): { tokens: string[]; types: number[] } {
  const hex = (i: number) => i.toString(16).toUpperCase().padStart(2, "0");
  const tokens = [
    "<unk>",
    "<s>",
    "</s>",
    ...Array.from({ length: 256 }, (_, i) => `<0x${hex(i)}>`),
  ];
  const types: number[] = tokens.map((_, i) => i === 0 ? 2 : i < 3 ? 3 : 6);
  for (const letter of "▁abcdefghijklmnopqrstuvwxyz") tokens.push(letter);
  for (let i = 0; tokens.length < count; i++) {
    let word = "";
    for (let n = i + 26; n > 0; n = Math.floor(n / 26)) word += String.fromCharCode(97 + n % 26);
    tokens.push(`▁${word}`);
  }
  tokens.length = count;
  while (types.length < count) types.push(1);
  types.length = count;
  return { tokens, types };
}

/** Everything in front of the tensors' data. */
function headerBytes(
  name: string,
  shape: Shape,
  format: FileFormat,
  tensors: readonly Tensor[],
): Uint8Array {
  const { tokens, types } = vocabularyOf(shape.vocabulary);
  const out = new Header();
  out.metadata("general.architecture", "llama");
  out.metadata("general.name", `random ${name}`);
  out.metadata("general.file_type", fileFormats[format].id);
  out.metadata("general.quantization_version", 2);
  out.metadata("llama.block_count", shape.layers);
  out.metadata("llama.context_length", shape.context);
  out.metadata("llama.embedding_length", shape.embedding);
  out.metadata("llama.feed_forward_length", shape.feedForward);
  out.metadata("llama.attention.head_count", shape.heads);
  out.metadata("llama.attention.head_count_kv", shape.kvHeads);
  out.metadata("llama.rope.dimension_count", shape.embedding / shape.heads);
  out.metadata("llama.vocab_size", shape.vocabulary);
  out.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
  out.metadata("tokenizer.ggml.model", "llama");
  out.metadata("tokenizer.ggml.bos_token_id", 1);
  out.metadata("tokenizer.ggml.eos_token_id", 2);
  out.array("tokenizer.ggml.tokens", tokens, 8);
  out.array("tokenizer.ggml.scores", tokens.map((_, i) => -i), 6);
  out.array("tokenizer.ggml.token_type", types, 5);
  return out.finish(tensors);
}

/** A GGUF header, version 3, little endian. */
class Header {
  #bytes = new Uint8Array(1 << 16);
  #length = 24;
  #entries = 0;

  metadata(key: string, value: string | number): void {
    this.#key(key, typeof value === "string" ? 8 : 4);
    if (typeof value === "string") this.#text(value);
    else this.#view(4).setUint32(0, value, true);
  }

  float(key: string, value: number): void {
    this.#key(key, 6);
    this.#view(4).setFloat32(0, value, true);
  }

  /** Strings (8), f32 (6) or i32 (5). */
  array(key: string, values: readonly (string | number)[], type: 5 | 6 | 8): void {
    this.#key(key, 9);
    this.#view(4).setUint32(0, type, true);
    this.#long(values.length);
    for (const value of values) {
      if (typeof value === "string") this.#text(value);
      else if (type === 6) this.#view(4).setFloat32(0, value, true);
      else this.#view(4).setInt32(0, value, true);
    }
  }

  finish(tensors: readonly Tensor[]): Uint8Array {
    let offset = 0;
    for (const tensor of tensors) {
      this.#text(tensor.name);
      this.#view(4).setUint32(0, tensor.shape.length, true);
      for (const extent of tensor.shape) this.#long(extent);
      this.#view(4).setUint32(0, tensorFormats[tensor.format].id, true);
      this.#long(offset);
      offset += aligned(tensorBytes(tensor));
    }
    this.#view(aligned(this.#length) - this.#length);
    const front = new DataView(this.#bytes.buffer);
    front.setUint32(0, 0x46554747, true);
    front.setUint32(4, 3, true);
    front.setBigUint64(8, BigInt(tensors.length), true);
    front.setBigUint64(16, BigInt(this.#entries), true);
    return this.#bytes.subarray(0, this.#length);
  }

  #key(key: string, type: number): void {
    this.#entries++;
    this.#text(key);
    this.#view(4).setUint32(0, type, true);
  }

  #text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.#long(bytes.length);
    this.#view(bytes.length);
    this.#bytes.set(bytes, this.#length - bytes.length);
  }

  #long(value: number): void {
    this.#view(8).setBigUint64(0, BigInt(value), true);
  }

  /** The next `count` bytes, all zero. */
  #view(count: number): DataView {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return new DataView(this.#bytes.buffer, at, count);
  }
}
