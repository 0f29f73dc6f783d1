import type { TokenLogprob } from "./token_logprob.ts";

/** One generated token. */
export interface Step {
  /** The token's id in the model's vocabulary. */
  readonly token: number;
  /**
   * The text that this token completes. It is always whole characters: bytes of an unfinished one
   * are kept for the step that completes it, so that the text of one step may be empty.
   */
  readonly text: string;
  /** Natural logarithm of its probability in the model's own distribution, before any sampler stage. */
  readonly logprob: number;
  /**
   * Entropy of the model's own distribution in nats; NaN unless `entropy` asked for it. What the token
   * itself told, its surprisal, is -logprob.
   */
  readonly entropy: number;
  /** The most probable tokens, best first; empty unless `topLogprobs` asked for them. */
  readonly top: readonly TokenLogprob[];
  /** The token's place in the sequence, counted from 0 at the first token of the prompt. */
  readonly position: number;
}
