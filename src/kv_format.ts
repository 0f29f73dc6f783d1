/** A number format in which the KV cache can keep keys or values. */
export type KvFormat = "f32" | "f16" | "bf16";
