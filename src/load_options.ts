import type { LoadProgress } from "./load_progress.ts";
import type { Precision } from "./precision.ts";

/** How a model is loaded. Every field has a default; an unknown field is refused. */
export interface LoadOptions {
  /** Number of threads that compute; by default one for each physical core. */
  readonly threads?: number | undefined;
  /** How activations are multiplied; `"int8"` by default. */
  readonly precision?: Precision | undefined;
  /** Loads the vocabulary and the metadata and no weights: enough to tokenize and to inspect. */
  readonly vocabularyOnly?: boolean | undefined;
  /**
   * Keeps the weights on disk as the engine computes with them, and maps them from there the next
   * time, which is faster than packing them again: `true` in the cache folder (`VITRINE_CACHE`), a
   * path in that file; `false` by default, because it takes the model's size on disk once more. A
   * file that isn't of this very model, or is damaged, is replaced; a file of another kind is left
   * alone. The load succeeds also when nothing can be written: see `packed` and `packedNote` of
   * `model.info`.
   */
  readonly packed?: boolean | string | undefined;
  /** Ends the loading early; the promise is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how far the loading has come, a few times a second at most. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}
