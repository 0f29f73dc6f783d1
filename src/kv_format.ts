/** The formats, from the widest to the narrowest. */
export const kvFormats = [
  ...["f32", "f16", "bf16", "q8_0", "int8", "f8_e4m3", "f8_e5m2"] as const,
  ...["q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] as const,
] as const;

/**
 * A number format in which the KV cache can keep keys or values.
 *
 * - `q8_0`: 8-bit integers with one scale for 32 of them, 17/32 of the memory of `f16`; heads must be
 *   multiples of 32 values.
 * - `int8`: 8-bit integers with one f16 scale for a whole head of one token; heads must be multiples of 32 values.
 * - `f8_e4m3`, `f8_e5m2`: 8-bit floats after OCP's specification, half the memory of `f16`, without
 *   scales. Larger values become the largest: 448 and 57344.
 * - `q5_1`, `q5_0`, `q4_1`, `q4_0`: 5-bit and 4-bit integers with one scale for 32 of them, and with one
 *   minimum where the name ends in 1; 6, 5.5, 5 and 4.5 bits a value.
 * - `iq4_nl`: sixteen levels, denser near zero, with one scale for 32 of them; 4.5 bits a value.
 *
 * Integers and levels are those of the GGUF tensor types of the same names; heads must be multiples of
 * 32 values for all of them.
 */
export type KvFormat = (typeof kvFormats)[number];
