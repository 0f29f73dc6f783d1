/**
 * What the engine reports: a file that can't be read, a context that is full, a library that
 * doesn't fit. Misuse by shape or range is a `TypeError` or a `RangeError` instead.
 *
 * @module
 */

/**
 * The stable names of what can go wrong inside the engine.
 *
 * They are the status codes of the C interface without the prefix, plus those that only the
 * TypeScript side knows: `library-not-found`, `library-mismatch`, `runtime-unsupported`,
 * `model-not-found`, `stage-failed`, `evict-failed`.
 */
export type EngineErrorCode =
  | "invalid-argument"
  | "invalid-handle"
  | "buffer-too-small"
  | "out-of-memory"
  | "too-many-handles"
  | "busy"
  | "not-ready"
  | "cancelled"
  | "context-full"
  | "invalid-file"
  | "unsupported"
  | "file-not-found"
  | "input-output"
  | "numeric"
  | "no-logits"
  | "foreign"
  | "pool-full"
  | "disposed"
  | "library-not-found"
  | "library-mismatch"
  | "runtime-unsupported"
  | "model-not-found"
  | "stage-failed"
  | "evict-failed"
  | "internal";

/**
 * An error that the engine reports, with a stable `code` to branch on.
 *
 * @example
 * ```ts
 * import { EngineError, loadModel } from "./mod.ts";
 *
 * try {
 *   using model = await loadModel("./no-such-file.gguf");
 *   console.log(model.info.architecture);
 * } catch (error) {
 *   if (!(error instanceof EngineError)) throw error;
 *   console.log(error.code); // "file-not-found"
 * }
 * ```
 */
export class EngineError extends Error {
  override readonly name = "EngineError";
  /** What went wrong, as a name that never changes. */
  readonly code: EngineErrorCode;

  /**
   * @param code What went wrong, as a stable name.
   * @param message One sentence, without a final period: "Expected X, but found Y".
   * @param options The error that caused this one, if there was one.
   */
  constructor(code: EngineErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
