/** One token with the probability that the model gave it. */
export interface TokenLogprob {
  /** The token's id in the model's vocabulary. */
  readonly token: number;
  /** Natural logarithm of its probability in the model's own distribution, before any sampler stage. */
  readonly logprob: number;
}
