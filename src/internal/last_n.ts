import { found } from "./check.ts";

/** The most tokens that the engine counts: all that it keeps. */
export const wholeText = 2 ** 24;

/** How many of the last tokens of the text a stage looks at; all for `Infinity`. */
export function checkLastN(value: unknown, what: string): number {
  if (value === Infinity) return wholeText;
  if (typeof value !== "number") {
    throw new TypeError(`Expected the lastN of ${what} to be a number, but found ${found(value)}`);
  }
  if (!Number.isInteger(value) || value < 0 || value > wholeText) {
    throw new RangeError(
      `Expected the lastN of ${what} to be a whole number from 0 to ${wholeText} or Infinity, but found ${value}`,
    );
  }
  return value;
}
