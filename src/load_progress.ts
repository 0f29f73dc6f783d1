/** How far loading has come. */
export interface LoadProgress {
  /** What is going on: fetching the file, or reading and packing its weights. */
  readonly phase: "download" | "load";
  /** Bytes done. */
  readonly done: number;
  /** Bytes in all; 0 while it isn't known. */
  readonly total: number;
}
