/**
 * A text as the measures take it: ids of tokens, or words. How a text is split decides what they say,
 * so they split nothing themselves: `Model.tokenize` gives ids, and `text.split(/\s+/)` words.
 */
export type TokenSequence = readonly number[] | readonly string[] | Uint32Array;
