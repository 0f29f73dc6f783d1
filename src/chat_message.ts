/** One message of a conversation. Chat templates may read further fields. */
export interface ChatMessage {
  /** Who speaks: usually `"system"`, `"user"` or `"assistant"`. */
  readonly role: string;
  /** What is said. */
  readonly content: string;
  readonly [field: string]: unknown;
}
