/** Activations at a hook point, of one sequence and of positions that follow each other. */
export interface Activation {
  /** Such as `"embed"` or `"blocks.3.resid_post"`. */
  readonly name: string;
  /** From 0; nothing at a point without layers. */
  readonly layer: number | undefined;
  /** Position of the first row. */
  readonly position: number;
  readonly rows: number;
  /** Values of a row. */
  readonly width: number;
  /** [rows][width]. */
  readonly values: Float32Array<ArrayBuffer>;
}

/**
 * Sees activations while the engine waits. What it writes into `values`, or an array of that length that
 * it returns, the model goes on with. It is called for each piece of a prompt and for each generated
 * token, must return at once (no promise), and what it throws ends the request and comes out of it.
 */
export type Hook = (activation: Activation) => Float32Array | void;
