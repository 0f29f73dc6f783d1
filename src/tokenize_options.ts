/** How text becomes tokens. Every field has a default; an unknown field is refused. */
export interface TokenizeOptions {
  /** Adds the tokens at the beginning and the end of a text that the metadata asks for; true by default. */
  readonly addSpecial?: boolean | undefined;
  /** Names of special tokens in the text become those tokens; true by default. */
  readonly parseSpecial?: boolean | undefined;
}
