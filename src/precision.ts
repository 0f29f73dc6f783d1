/**
 * How activations are multiplied with quantised weights: `"int8"` rounds them to 8-bit blocks and
 * is fast, `"float"` keeps them in 32-bit floats and is the reference to compare with. On x86 attention over values in
 * `q8_0` and `int8` does the same: with `"int8"` the weights of 64 positions are rounded to 16 bits, each by up to
 * 1/65534 of the largest.
 */
export type Precision = "int8" | "float";
