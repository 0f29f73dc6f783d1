import { found } from "./internal/check.ts";

/** What `encodeNpy` writes. */
export type NpyValues =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint16Array
  | Int32Array
  | Uint32Array;

const types: readonly (readonly [kind: new (length: number) => NpyValues, type: string])[] = [
  [Float32Array, "<f4"],
  [Float64Array, "<f8"],
  [Int8Array, "|i1"],
  [Uint8Array, "|u1"],
  [Uint16Array, "<u2"],
  [Int32Array, "<i4"],
  [Uint32Array, "<u4"],
];

/**
 * Writes numbers as numpy's array file, version 1.0 (NEP 1), which `numpy.load` reads: in C order, little
 * endian.
 *
 * @param values The numbers.
 * @param shape Extents, the last one contiguous; their product is the number of values.
 * @param type The numbers' type in numpy's notation; by default that of the array. `"<f2"` says that a
 *   `Uint16Array` has the bits of f16.
 * @returns The bytes of the file.
 * @throws {RangeError} When the shape or the type is that of another array.
 *
 * @example
 * ```ts
 * import { writeFileSync } from "node:fs";
 * import { encodeNpy, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * await session.prefill("The lighthouse at the end of the world");
 * const { heads, keyLength, positions } = session.kv;
 * const keys = session.kv.read({ which: "key", layer: 1 });
 * writeFileSync("keys.npy", encodeNpy(keys, [heads, positions, keyLength]));
 * ```
 */
export function encodeNpy(
  values: NpyValues,
  shape: readonly number[],
  type?: "<f2",
): Uint8Array<ArrayBuffer> {
  const own = types.find(([Kind]) => values instanceof Kind)?.[1];
  if (own === undefined) {
    throw new TypeError(
      `Expected values to be a typed array of numbers, but found ${found(values)}`,
    );
  }
  if (type !== undefined && (type !== "<f2" || own !== "<u2")) {
    throw new RangeError(
      `Expected "<f2" of a Uint16Array, or no type, but found ${
        found(type)
      } of a ${values.constructor.name}`,
    );
  }
  const isShape = Array.isArray(shape) && shape.every((n) => Number.isInteger(n) && n >= 0);
  if (!isShape || shape.reduce((product, extent) => product * extent, 1) !== values.length) {
    throw new RangeError(
      `Expected a shape of ${values.length} values, but found ${
        Array.isArray(shape) ? `[${shape.join(", ")}]` : found(shape)
      }`,
    );
  }
  const extents = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const text = `{'descr': '${type ?? own}', 'fortran_order': False, 'shape': (${extents}), }`;
  // The numbers begin at a multiple of 64 bytes; a line end closes the header.
  const preamble = 10;
  const length = Math.ceil((preamble + text.length + 1) / 64) * 64 - preamble;
  const bytes = new Uint8Array(preamble + length + values.byteLength);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, length & 0xff, length >> 8]);
  bytes.set(new TextEncoder().encode(`${text.padEnd(length - 1)}\n`), preamble);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), preamble + length);
  return bytes;
}
