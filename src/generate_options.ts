import type { SamplerStage } from "./sampler_stage.ts";

/** How text is generated. Every field has a default; an unknown field is refused. */
export interface GenerateOptions {
  /**
   * The stages in the order in which they apply. By default there are none, and tokens are drawn
   * from the model's own distribution.
   */
  readonly sampler?: readonly SamplerStage[] | undefined;
  /**
   * Seed of the random numbers, from 0 to 2^64 - 1. The same seed gives the same tokens, whatever
   * the runtime and the number of threads. By default one is drawn; read it from `Generation.seed`.
   */
  readonly seed?: number | bigint | undefined;
  /** The most tokens to generate; by default the generation goes on until it ends by itself. */
  readonly maxTokens?: number | undefined;
  /** The generation ends before the first of these strings; they may span tokens. */
  readonly stop?: string | readonly string[] | undefined;
  /** Cancels the generation within 50 ms, during the prefill too. */
  readonly signal?: AbortSignal | undefined;
  /** How many of the most probable tokens each step reports, from 0 (the default) to 64. */
  readonly topLogprobs?: number | undefined;
  /** Goes on after a token that ends the text; false by default. */
  readonly ignoreEnd?: boolean | undefined;
  /**
   * Whether a text prompt gets the tokens that the model puts at the beginning and the end of a
   * text, as its metadata says; by default only at the beginning of the session.
   */
  readonly addSpecial?: boolean | undefined;
  /** Whether names of special tokens in a text prompt become those tokens; true by default. */
  readonly parseSpecial?: boolean | undefined;
  /** Is told how many tokens of the prompt have been read. */
  readonly onPrefill?: ((progress: { done: number; total: number }) => void) | undefined;
}
