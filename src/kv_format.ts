/** The formats that round each token by itself, from the widest to the narrowest. */
export const kvFormats = [
  ...["f32", "f16", "bf16", "q8_0", "int8", "f8_e4m3", "f8_e5m2"] as const,
  ...["q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "nvfp4", "mxfp4"] as const,
] as const;

/** The formats whose keys are rounded in groups of tokens. */
export const kvGroupFormats = ["int8_channel", "int4", "int2"] as const;

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
 * - `mxfp4`: 4-bit floats (e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) with a power of two for 32
 *   of them, after OCP's "Microscaling Formats (MX) Specification"; 4.25 bits a value.
 * - `nvfp4`: the same floats with an 8-bit float (e4m3) as scale for 16 of them; 4.5 bits a value. The format's
 *   second scale, of a whole tensor, is 1: a cache can't know its largest value beforehand. Values go up to
 *   2688; 16 values that are all below about 0.1 lose precision.
 *
 * - `int8_channel`, `int4`, `int2`: 8-bit, 4-bit and 2-bit integers after KIVI (Liu et al. 2024), with a scale and a
 *   minimum for a group of them, which are tokens of one channel in keys and values of one token in values. Groups
 *   are of 32 in `int4` and `int2`; of 64 in `int8_channel`, or of 32 in heads that are no multiples of 64: 8.5 (or
 *   9), 5 and 3 bits a value. Keys are rounded when a group of tokens is there, so that a policy with such keys needs
 *   as many `recent` ones. `KvStored` has other groups, integers without minimums, and outliers.
 *
 * Integers, levels and 4-bit floats are those of the GGUF tensor types of the same names, where there are such;
 * heads must be multiples of 32 values for all of them.
 */
export type KvFormat = (typeof kvFormats)[number] | (typeof kvGroupFormats)[number];
