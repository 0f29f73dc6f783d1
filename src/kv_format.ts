/**
 * A number format in which the KV cache can keep keys or values. `q8_0` (8-bit integers, one scale
 * for 32 of them) takes 17/32 of the memory of `f16` and is read faster; heads must be multiples of
 * 32 values.
 */
export type KvFormat = "f32" | "f16" | "bf16" | "q8_0";
