/** How a conversation becomes a prompt. Every field has a default; an unknown field is refused. */
export interface ChatTemplateOptions {
  /** Ends the prompt with the beginning of the assistant's answer; true by default. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** Descriptions of tools, for templates that know them. */
  readonly tools?: readonly unknown[] | undefined;
  /** Further variables for the template. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined;
}
