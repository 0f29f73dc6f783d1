/**
 * One row of logits of a session that is lent to views: while the session stays as it is, and then taken
 * away from them for the next one.
 *
 * @module
 */
import type { SessionCore } from "./session_core.ts";

export class LogitsLease {
  readonly #core: SessionCore;
  #values: Float32Array<ArrayBuffer> | undefined;
  #lent = false;
  /** Of the views that are good. */
  #term = 0;

  constructor(core: SessionCore) {
    this.#core = core;
  }

  /** Reads the logits, and returns a function that gives them as long as they are the session's. */
  begin(): () => Float32Array<ArrayBuffer> {
    if (!this.#lent) {
      this.#values ??= new Float32Array(this.#core.model.info.logits);
      this.#core.logits(undefined, this.#values);
      this.#lent = true;
    }
    const term = this.#term;
    return () => {
      if (term === this.#term && this.#values !== undefined) return this.#values;
      throw new RangeError(
        "Expected a view of the session's logits as they are, but found one from before it changed",
      );
    };
  }

  /** The session is about to change: what was lent becomes empty. */
  end(): void {
    if (!this.#lent || this.#values === undefined) return;
    this.#values = new Float32Array(this.#values.buffer.transfer());
    this.#lent = false;
    this.#term += 1;
  }
}
