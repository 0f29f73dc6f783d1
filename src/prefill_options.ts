/** How a prompt is read. Every field has a default; an unknown field is refused. */
export interface PrefillOptions {
  /** Keeps the logits of every position of this prefill and not only of the last. */
  readonly allLogits?: boolean | undefined;
  /** Cancels the prefill within 50 ms. */
  readonly signal?: AbortSignal | undefined;
  /** As in `GenerateOptions`. */
  readonly addSpecial?: boolean | undefined;
  /** As in `GenerateOptions`. */
  readonly parseSpecial?: boolean | undefined;
  /** Is told how many tokens have been read. */
  readonly onPrefill?: ((progress: { done: number; total: number }) => void) | undefined;
}
