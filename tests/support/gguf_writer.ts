/**
 * Writes GGUF files for tests, straight from the specification and independent of the engine's own
 * reader and writer: version 3, little endian.
 *
 * @module
 */

/** A value with the type that it gets in the file. */
export type GgufValue =
  | { readonly type: "uint32" | "int32" | "float32" | "float64"; readonly value: number }
  | { readonly type: "uint64" | "int64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | {
    readonly type: "array";
    readonly of: "string" | "float32" | "int32" | "uint32" | "uint64" | "bool" | "uint8";
    readonly value: readonly (string | number | bigint | boolean)[];
  };

/** A tensor: shape with the contiguous extent first, GGUF type number, and its bytes. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly bytes: Uint8Array;
}

const typeIds: Record<string, number> = {
  uint8: 0,
  uint32: 4,
  int32: 5,
  float32: 6,
  bool: 7,
  string: 8,
  array: 9,
  uint64: 10,
  int64: 11,
  float64: 12,
};
const alignment = 32;

/** The bytes of a file. */
export function writeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Uint8Array {
  const out = new Sink();
  out.bytes(new TextEncoder().encode("GGUF"));
  out.u32(3);
  out.u64(BigInt(tensors.length));
  out.u64(BigInt(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) {
    out.text(key);
    out.u32(typeIds[value.type] ?? 0);
    out.value(value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.u32(tensor.shape.length);
    for (const extent of tensor.shape) out.u64(BigInt(extent));
    out.u32(tensor.type);
    out.u64(BigInt(offset));
    offset += Math.ceil(tensor.bytes.length / alignment) * alignment;
  }
  out.pad();
  for (const tensor of tensors) {
    out.bytes(tensor.bytes);
    out.pad();
  }
  return out.done();
}

class Sink {
  #buffer = new Uint8Array(1 << 16);
  #length = 0;

  u32(value: number): void {
    this.#at(4).setUint32(0, value, true);
  }

  u64(value: bigint): void {
    this.#at(8).setBigUint64(0, BigInt.asUintN(64, value), true);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#buffer.set(bytes, at);
  }

  text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(BigInt(bytes.length));
    this.bytes(bytes);
  }

  value(value: GgufValue): void {
    if (value.type !== "array") return this.#scalar(value.type, value.value);
    this.u32(typeIds[value.of] ?? 0);
    this.u64(BigInt(value.value.length));
    for (const element of value.value) this.#scalar(value.of, element);
  }

  pad(): void {
    this.#grow((alignment - this.#length % alignment) % alignment);
  }

  done(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }

  #scalar(type: string, value: string | number | bigint | boolean): void {
    if (type === "string") return this.text(String(value));
    if (type === "uint64" || type === "int64") return this.u64(BigInt(value));
    if (type === "float32") return this.#at(4).setFloat32(0, Number(value), true);
    if (type === "float64") return this.#at(8).setFloat64(0, Number(value), true);
    if (type === "bool" || type === "uint8") {
      return this.#at(1).setUint8(0, Number(value));
    }
    this.u32(Number(value) >>> 0);
  }

  /** The next bytes; the buffer may be another one after this. */
  #at(count: number): DataView {
    const at = this.#grow(count);
    return new DataView(this.#buffer.buffer, at, count);
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#buffer.length * 2));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    return at;
  }
}
