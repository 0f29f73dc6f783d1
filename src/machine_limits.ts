/** What a machine can do at most, with all threads together; see `measureLimits`. */
export interface MachineLimits {
  /** The compiled variant of the kernels whose instructions were measured, such as `"avx2"`. */
  readonly cpuVariant: string;
  /** Threads that ran. */
  readonly threads: number;
  /** Memory that was read, in bytes; where it is small, the caches are what was measured. */
  readonly memoryBytes: number;
  /** The best rate of reading memory, in bytes a second: the largest of `reads`. */
  readonly readBytes: number;
  /** Reading in one stream a thread, in four, and in four with prefetches, in bytes a second. */
  readonly reads: { readonly one: number; readonly four: number; readonly ahead: number };
  /**
   * 8-bit multiplications and additions a second, by the product that the variant has: `vpdpbusd`
   * and its like, else `pmaddubsw` with `pmaddwd` and an addition.
   */
  readonly int8Ops: number;
  /** Multiplications and additions of 32-bit floats a second. */
  readonly f32Ops: number;
  /** The same by bf16 dot products; 0 when the variant has none. */
  readonly bf16Ops: number;
}
