/** An array in a file's metadata; its elements are read when they are asked for. */
export interface MetadataArray {
  /** Type of the elements as the GGUF specification names it, such as `"string"` or `"float32"`. */
  readonly elementType: string;
  /** Number of elements. */
  readonly length: number;
  /**
   * Reads elements.
   *
   * @param from First element, 0 by default.
   * @param to One past the last element; by default the array's end.
   * @returns The elements, in order.
   */
  slice(from?: number, to?: number): (string | number | bigint | boolean)[];
}
