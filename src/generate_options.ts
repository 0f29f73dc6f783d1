import type { Draft } from "./draft.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** What a trace has beside its columns of one value a step and stage. */
export interface TraceOptions {
  /** The most probable candidates that are recorded behind each stage, from 0 (the default) to 4096. */
  readonly candidates?: number | undefined;
  /** Steps that there is room for, the first ones; by default as many as the context has tokens. */
  readonly steps?: number | undefined;
}

/** How a tape keeps logits. */
export interface TapeOptions {
  /**
   * All logits in 32 bits (the default), all in 16 bits, or only the highest, in 32 bits, with the sum of
   * exponentials of the others.
   */
  readonly kind?: "f32" | "f16" | "top" | undefined;
  /** How many logits of a step the kind `"top"` keeps; 256 unless it is said. */
  readonly top?: number | undefined;
  /** Steps that there is room for, the first ones; by default as many as the context has tokens. */
  readonly steps?: number | undefined;
}

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
  /**
   * The most tokens to generate, from 1; by default the generation goes on until it ends by itself. 0 with
   * `promptLogprobs` only: the prompt is read and said how probable it is.
   */
  readonly maxTokens?: number | undefined;
  /** The generation ends before the first of these strings; they may span tokens. */
  readonly stop?: string | readonly string[] | undefined;
  /**
   * Strings that the generated text does not have, up to 4096 of 1 to 1024 bytes; they may span tokens. A step
   * is held back while its text could become part of one. When it does, the session goes back to before the
   * token in which the string began, its KV cache too; that token is excluded there as long as the text before
   * is the same, and another one is drawn with the random numbers of the place: the token that the sampler
   * draws from the logits without those that are excluded. What is taken back was never shown, and is no part
   * of trace and tape. A string that begins in the prompt is not seen. Not in a session with `shift` or `evict`,
   * and not with `draft`, `guidance` or `contrastiveSearch`.
   */
  readonly bannedStrings?: readonly string[] | undefined;
  /** Whether banned strings have letters of either case, those of ASCII only; false by default. */
  readonly bannedIgnoreCase?: boolean | undefined;
  /**
   * Cancels the generation within 50 ms, during the prefill too. Whoever waits for a step gets the reason of
   * the signal instead, and none after it, however far the engine had computed.
   */
  readonly signal?: AbortSignal | undefined;
  /** How many of the most probable tokens each step reports, from 0 (the default) to 64. */
  readonly topLogprobs?: number | undefined;
  /**
   * Whether `Generation.prompt` says how probable the model found each token of the prompt, with as many
   * alternatives as `topLogprobs` says; false by default. Not in a session with `shift`.
   */
  readonly promptLogprobs?: boolean | undefined;
  /** Whether each step has the entropy of the model's own distribution; false by default. */
  readonly entropy?: boolean | undefined;
  /**
   * Records what every stage received and left, for `Generation.trace`: `true`, or how much of it. Its
   * memory, 1 GiB at most, is taken at the start.
   */
  readonly trace?: boolean | TraceOptions | undefined;
  /**
   * Records the logits of every step, for `Generation.tape`: `true`, or how. Its memory, 1 GiB at most, is
   * taken at the start.
   */
  readonly tape?: boolean | TapeOptions | undefined;
  /**
   * Who guesses tokens ahead, so that one pass of the model checks several: `ngramDraft`, `modelDraft` or
   * `customDraft`. The text is the same; `Generation.drafts` says what came of the guesses. Not in a session
   * with hooks, and not with `guidance` or `bannedStrings`.
   */
  readonly draft?: Draft | undefined;
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
