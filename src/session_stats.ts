/** What the last request of a session took. */
export interface SessionStats {
  /** Tokens of the prompt that were read. */
  readonly prefillTokens: number;
  readonly prefillMs: number;
  /** Generated tokens that were evaluated in their turn: all but the last one. */
  readonly decodeTokens: number;
  /** From the first generated token to the last one. */
  readonly decodeMs: number;
  /** From the start of the request to the first generated token. */
  readonly firstTokenMs: number;
  /** Tokens whose pages a pool had already, so that they were not computed. */
  readonly reusedTokens: number;
  /** Tokens that were computed again, because a pool had taken their pages. */
  readonly reevaluatedTokens: number;
  /** Tokens that were evicted from the cache. */
  readonly evictedTokens: number;
  /** How often the request waited for pages of a pool. */
  readonly waits: number;
  /** How long that took in all. */
  readonly waitMs: number;
  /** Passes of the model that it took part in. */
  readonly passes: number;
  /** Guesses of drafts that were checked, and those of them that were right. */
  readonly drafted: number;
  readonly accepted: number;
}
