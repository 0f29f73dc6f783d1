/**
 * The logits behind the last token of a session, in memory that is used again: no allocation for each
 * step. The view ends with whatever changes the session: the next step or prompt, a truncation, its
 * disposal. From then on `values` throws, and an array that was kept of it is empty.
 *
 * @example
 * ```ts
 * import { loadModel, temperature } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * await session.prefill("The best thing about the sea is");
 * for (let i = 0; i < 4; i++) {
 *   const { values } = session.logitsView();
 *   console.log(values.indexOf(values.reduce((most, x) => Math.max(most, x))));
 *   await session.step({ sampler: [temperature(0.8)], seed: i });
 * }
 * ```
 */
export class LogitsView {
  readonly #read: () => Float32Array<ArrayBuffer>;

  /** Only `Session.logitsView` makes these. */
  constructor(read: () => Float32Array<ArrayBuffer>) {
    this.#read = read;
  }

  /**
   * One value for each token of the vocabulary.
   *
   * @throws {RangeError} When the session has changed since.
   */
  get values(): Float32Array<ArrayBuffer> {
    return this.#read();
  }
}
