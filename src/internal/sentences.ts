/**
 * Splits a text into sentences by a rule that fits on two lines, so that every runtime finds the same
 * ones; the segmenters of runtimes follow the version of their Unicode data.
 *
 * @module
 */

/** Behind the marks that end a sentence and what closes around them, and behind a paragraph. */
const border = /(?<=[.!?…]["'”’»)\]]*)(?=\s)|(?<=\S)(?=\s*\n\s*\n)/u;

/** The sentences, which together are the text; white space belongs to the sentence behind it. */
export function sentencesOf(text: string): string[] {
  const parts = text.split(border);
  // White space at the end of the text is no sentence.
  const last = parts.at(-1) as string;
  if (parts.length > 1 && last.trim() === "") parts.splice(-2, 2, `${parts.at(-2)}${last}`);
  return parts;
}
