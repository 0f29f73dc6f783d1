/**
 * How activations are multiplied with quantised weights: `"int8"` rounds them to 8-bit blocks and
 * is fast, `"float"` keeps them in 32-bit floats and is the reference to compare with.
 */
export type Precision = "int8" | "float";
