import type { ModelCore } from "./internal/model_core.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** The text so far, and how it goes on: what a draft is made from. */
export interface DraftedText {
  /** All tokens of the sequence. */
  readonly tokens: readonly number[];
  /** Guesses that are wanted at most. It follows what was accepted, up to the draft's `length`. */
  readonly most: number;
  /** The chain and the seed that tokens are drawn with: who draws with the same agrees more often. */
  readonly sampler: readonly SamplerStage[];
  readonly seed: bigint;
  /** Whether the text goes on behind a token that ends it. */
  readonly ignoreEnd: boolean;
  readonly signal: AbortSignal | undefined;
}

/** Guesses the tokens that follow, in their order; fewer than are wanted, or none, are fine. */
export type DraftFunction = (text: DraftedText) => DraftedTokens | Promise<DraftedTokens>;
type DraftedTokens = readonly number[] | Uint32Array;

/** Guesses for one generation, until it ends. */
export interface Drafter {
  readonly guess: DraftFunction;
  readonly dispose: () => void;
}

/**
 * Who guesses tokens ahead for `Session.generate`, so that one pass of the model checks several: make it
 * with `ngramDraft`, `modelDraft` or `customDraft`. The text is the one without a draft, token for token:
 * each token is still sampled from the model's own logits, with its own random number, and a guess counts
 * as long as it is what was sampled.
 */
export interface Draft {
  readonly kind: "ngram" | "model" | "custom";
  /** Most guesses in one pass. */
  readonly length: number;
  /** Of `ngram`: how many tokens a place in the text is known by, and how few will do. */
  readonly ngram?: number;
  readonly least?: number;
  /** Begins to guess for one generation of a model; throws where it can't. Of other kinds than `ngram`. */
  readonly open?: (model: ModelCore, context: number) => Drafter;
}

/** What came of one draft. */
export interface DraftPass {
  /** Tokens that the sequence had behind the pass. */
  readonly position: number;
  /** Guesses that were checked, and those of them that were what was sampled. */
  readonly drafted: number;
  readonly accepted: number;
}
