/** What the file says about one tensor. */
export interface TensorInfo {
  readonly name: string;
  /** Number format, such as `"q4_k"`. */
  readonly format: string;
  /** Extents, the contiguous one first. */
  readonly shape: readonly number[];
  /** Size in the file. */
  readonly bytes: number;
}
