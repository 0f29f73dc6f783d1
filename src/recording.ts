import type { Activation } from "./activation.ts";
import { found } from "./internal/check.ts";

/**
 * Activations that `Session.record` keeps, of all tokens since. Dispose of it with `using` to end the
 * recording; what it has stays readable.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * using recording = session.record(["blocks.1.z"]);
 * await session.prefill("The lighthouse at the end of the world");
 * const { rows, width, values } = recording.get("blocks.1.z");
 * console.log(rows, width, values.length);
 * ```
 */
export class Recording {
  /** The points that are recorded, in the order in which the model comes to them. */
  readonly names: readonly string[];
  readonly #pieces = new Map<string, Activation[]>();
  readonly #end: () => void;

  /** Only `Session.record` makes these. */
  constructor(names: readonly string[], end: () => void) {
    this.names = names;
    this.#end = end;
  }

  /**
   * What has been recorded of a point: one row a token. Where positions were computed again, after a
   * truncation, the later rows count.
   *
   * @param name One of `names`.
   * @throws {RangeError} When it isn't, or nothing has been computed yet.
   */
  get(name: string): Activation {
    const pieces = this.#pieces.get(name);
    if (pieces === undefined) {
      const what = this.names.includes(name)
        ? `tokens that were computed since the recording of ${name} began`
        : `a recorded point (${this.names.join(", ")})`;
      throw new RangeError(
        `Expected ${what}, but found ${this.names.includes(name) ? "none" : found(name)}`,
      );
    }
    const [first] = pieces as [Activation];
    if (pieces.length === 1) return first;
    const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0);
    const values = new Float32Array(rows * first.width);
    let at = 0;
    for (const piece of pieces) {
      values.set(piece.values, at);
      at += piece.values.length;
    }
    const whole = { ...first, rows, values };
    this.#pieces.set(name, [whole]);
    return whole;
  }

  /** Forgets what has been recorded and goes on recording. */
  clear(): void {
    this.#pieces.clear();
  }

  /** Ends the recording. Again is harmless. */
  dispose(): void {
    this.#end();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Adds rows; the session calls it. */
  add(piece: Activation): void {
    const kept: Activation[] = [];
    for (const old of this.#pieces.get(piece.name) ?? []) {
      const rows = Math.min(old.rows, piece.position - old.position);
      if (rows > 0) kept.push({ ...old, rows, values: old.values.slice(0, rows * old.width) });
    }
    const last = kept.at(-1);
    // Rows before a gap belong to another part of the sequence.
    const follows = last === undefined || last.position + last.rows === piece.position;
    this.#pieces.set(piece.name, follows ? [...kept, piece] : [piece]);
  }
}
