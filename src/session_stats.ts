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
}
