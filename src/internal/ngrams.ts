/**
 * N-grams as numbers. Tokens get dense numbers first, so that an n-gram is told by the pair of its
 * first n - 1 tokens, which have a number already, and its last one. No strings are put together.
 *
 * @module
 */
import type { TokenSequence } from "../measures/token_sequence.ts";
import { checkInteger, found } from "./check.ts";

/** Sequences of numbers from 0 to `distinct` - 1. */
export interface DenseTexts {
  readonly texts: readonly Uint32Array<ArrayBuffer>[];
  readonly distinct: number;
}

const idMax = 0xffff_ffff;
/** No text has longer n-grams than this that anybody would count. */
const nMax = 1024;

/** Whether it is a text that the measures take, by its type. */
function isSequence(value: unknown): value is TokenSequence {
  return Array.isArray(value) || value instanceof Uint32Array;
}

/** Checks texts, at least `least` of them, and numbers their tokens. */
export function denseTexts(texts: unknown, least = 1): DenseTexts {
  if (!Array.isArray(texts)) {
    throw new TypeError(
      `Expected texts to be an array of arrays of tokens or words, but found ${found(texts)}`,
    );
  }
  if (texts.length < least) {
    throw new RangeError(`Expected texts to have at least ${least}, but found ${texts.length}`);
  }
  const numbers = new Map<number | string, number>();
  const dense = texts.map((text, i) => numbered(text, `texts[${i}]`, numbers));
  return { texts: dense, distinct: numbers.size };
}

/** One text with its tokens numbered. */
export function denseText(text: unknown): Uint32Array<ArrayBuffer> {
  return numbered(text, "text", new Map());
}

function numbered(
  text: unknown,
  what: string,
  numbers: Map<number | string, number>,
): Uint32Array<ArrayBuffer> {
  if (!isSequence(text)) {
    throw new TypeError(
      `Expected ${what} to be an array of tokens or words, but found ${found(text)}`,
    );
  }
  const dense = new Uint32Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const token = text[i] as unknown;
    const key = typeof token === "string" ? token : checkInteger(token, 0, idMax, `${what}[${i}]`);
    let number = numbers.get(key);
    if (number === undefined) numbers.set(key, number = numbers.size);
    dense[i] = number;
  }
  return dense;
}

/** The length of n-grams. */
export function checkN(n: unknown): number {
  return checkInteger(n, 1, nMax, "n");
}

/** The n-grams of each text by number; a text of fewer tokens has none. */
export function gramsOf({ texts, distinct }: DenseTexts, n: number): DenseTexts {
  let grams: DenseTexts = { texts, distinct };
  for (let length = 2; length <= n; length++) grams = longer(grams, texts, distinct, length);
  return grams;
}

/** N-grams of one token more: `grams` have `length` - 1 of them. */
export function longer(
  grams: DenseTexts,
  tokens: readonly Uint32Array[],
  distinct: number,
  length: number,
): DenseTexts {
  const numbers = new Map<number, number>();
  const texts = tokens.map((text, t) => {
    const shorter = grams.texts[t] as Uint32Array;
    const ids = new Uint32Array(Math.max(0, text.length - length + 1));
    for (let i = 0; i < ids.length; i++) {
      // Both factors are at most the number of tokens, so that the product is exact.
      const key = (shorter[i] as number) * distinct + (text[i + length - 1] as number);
      let number = numbers.get(key);
      if (number === undefined) numbers.set(key, number = numbers.size);
      ids[i] = number;
    }
    return ids;
  });
  return { texts, distinct: numbers.size };
}

/** How often each number stands in a sequence. */
export function countsOf(ids: Uint32Array): Map<number, number> {
  const counts = new Map<number, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

/** Texts that have n-grams, and those: a measure of none would be no number. */
export function someGrams(texts: unknown, n: number): DenseTexts {
  const dense = denseTexts(texts);
  const grams = gramsOf(dense, n);
  if (grams.distinct > 0) return grams;
  const longest = Math.max(...dense.texts.map((text) => text.length));
  throw new RangeError(
    `Expected a text of at least ${n} tokens, but found ${longest} in the longest one`,
  );
}
