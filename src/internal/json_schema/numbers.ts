/**
 * Numbers as GBNF: whole ones between bounds, digit by digit.
 *
 * @module
 */

/** Digits of a whole number without a bound: all of them are exact in 64-bit floats. */
const digitsMax = 15;

export const anyInteger = `"-"? ("0" | [1-9] [0-9]{0,${digitsMax - 1}})`;
export const anyNumber = `${anyInteger} ("." [0-9]{1,${digitsMax}})? ([eE] [-+]? [0-9]{1,2})?`;

/** Whole numbers from `min` to `max`, both included; a bound that is missing leaves 15 digits. */
export function integersBetween(min: bigint | undefined, max: bigint | undefined): string {
  const far = (bound: bigint | undefined) =>
    10n ** BigInt(Math.max(digitsMax, `${bound ?? 0n}`.replace("-", "").length + 1)) - 1n;
  const low = min ?? -far(max);
  const high = max ?? far(min);
  const parts: string[] = [];
  if (low < 0n) {
    const negative = naturalsBetween(high < 0n ? -high : 1n, -low);
    parts.push(`"-" (${negative})`);
  }
  if (high >= 0n) parts.push(naturalsBetween(low < 0n ? 0n : low, high));
  return parts.join(" | ");
}

/** Whole numbers that are not negative. */
export function naturalsBetween(low: bigint, high: bigint): string {
  const parts: string[] = [];
  for (let length = `${low}`.length; length <= `${high}`.length; length++) {
    const least = length === 1 ? 0n : 10n ** BigInt(length - 1);
    const most = 10n ** BigInt(length) - 1n;
    parts.push(digitsBetween(`${low > least ? low : least}`, `${high < most ? high : most}`));
  }
  return parts.join(" | ");
}

/** Digits of one length, in the order of numbers. */
function digitsBetween(low: string, high: string): string {
  if (low === high) return `"${low}"`;
  const [a = "", b = ""] = [low[0], high[0]];
  if (low.length === 1) return `[${a}-${b}]`;
  const [lowRest, highRest] = [low.slice(1), high.slice(1)];
  if (a === b) return `"${a}" (${digitsBetween(lowRest, highRest)})`;
  const zeros = "0".repeat(lowRest.length);
  const nines = "9".repeat(lowRest.length);
  const parts: string[] = [];
  let [from, to] = [Number(a), Number(b)];
  if (lowRest !== zeros) {
    parts.push(`"${a}" (${digitsBetween(lowRest, nines)})`);
    from += 1;
  }
  let last: string | undefined;
  if (highRest !== nines) {
    last = `"${b}" (${digitsBetween(zeros, highRest)})`;
    to -= 1;
  }
  if (from <= to) parts.push(`[${from}-${to}] [0-9]{${lowRest.length}}`);
  if (last !== undefined) parts.push(last);
  return parts.join(" | ");
}
