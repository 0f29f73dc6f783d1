/** The formats, from the widest to the narrowest. */
export const kvFormats = ["f32", "f16", "bf16", "q8_0", "f8_e4m3", "f8_e5m2"] as const;

/**
 * A number format in which the KV cache can keep keys or values.
 *
 * - `q8_0`: 8-bit integers with one scale for 32 of them, 17/32 of the memory of `f16`; heads must be
 *   multiples of 32 values.
 * - `f8_e4m3`, `f8_e5m2`: 8-bit floats after OCP's specification, half the memory of `f16`, without
 *   scales. Larger values become the largest: 448 and 57344.
 */
export type KvFormat = (typeof kvFormats)[number];
