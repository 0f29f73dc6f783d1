/**
 * Numbers between bounds as GBNF: decimals without exponents, compared digit by digit.
 *
 * @module
 */
import { found } from "../check.ts";
import { naturalsBetween } from "./numbers.ts";

/** Digits behind the point, and of a whole part without a bound. */
const digitsMax = 15;

/** A bound, and whether the number itself is beyond it. */
export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** A bound that is not negative, in digits. */
interface Digits {
  readonly whole: bigint;
  readonly fraction: string;
  readonly exclusive: boolean;
}

/** Numbers from `min` to `max`; nothing when there are none. */
export function decimalsBetween(
  min: Bound | undefined,
  max: Bound | undefined,
): string | undefined {
  const zero: Bound = { value: 0, exclusive: false };
  const parts: string[] = [];
  if (min === undefined || min.value < 0) {
    // Minus zero is written as zero.
    const near = max !== undefined && max.value < 0 ? max : { value: 0, exclusive: true };
    const negative = positive(turned(near), min && turned(min));
    if (negative !== undefined) parts.push(`"-" (${negative})`);
  }
  if (max === undefined || max.value >= 0) {
    const rest = positive(min !== undefined && min.value >= 0 ? min : zero, max);
    if (rest !== undefined) parts.push(rest);
  }
  return parts.length === 0 ? undefined : parts.join(" | ");
}

function turned({ value, exclusive }: Bound): Bound {
  return { value: -value, exclusive };
}

function positive(min: Bound, max: Bound | undefined): string | undefined {
  const low = digitsOf(min);
  const high = max && digitsOf(max);
  if (high !== undefined && high.whole < low.whole) return undefined;
  if (high !== undefined && high.whole === low.whole) {
    const inner = fraction(low, high);
    return inner && `"${low.whole}" ${inner}`;
  }
  const parts: string[] = [];
  const first = fraction(low, undefined);
  if (first !== undefined) parts.push(`"${low.whole}" ${first}`);
  const last = high?.whole ?? 10n ** BigInt(Math.max(digitsMax, `${low.whole}`.length + 1));
  if (low.whole + 1n < last) {
    parts.push(`(${naturalsBetween(low.whole + 1n, last - 1n)}) ("." [0-9]{1,${digitsMax}})?`);
  }
  const end = high && fraction(undefined, high);
  if (end !== undefined) parts.push(`"${last}" ${end}`);
  return parts.length === 0 ? undefined : parts.join(" | ");
}

function digitsOf({ value, exclusive }: Bound): Digits {
  const [whole = "", fraction = ""] = `${Math.abs(value)}`.split(".");
  if (!/^\d{1,15}$/.test(whole) || !/^\d{0,15}$/.test(fraction)) {
    throw new RangeError(
      `Expected bounds of up to 15 digits on either side of the point, but found ${found(value)}`,
    );
  }
  return { whole: BigInt(whole), fraction, exclusive };
}

/** What may stand behind a whole part that is that of the bounds which are given. */
function fraction(low: Digits | undefined, high: Digits | undefined): string | undefined {
  const length = Math.max(low?.fraction.length ?? 0, high?.fraction.length ?? 0);
  const reader = new Fraction(
    low && { ...low, fraction: low.fraction.padEnd(length, "0") },
    high && { ...high, fraction: high.fraction.padEnd(length, "0") },
    length,
  );
  const digits = reader.digits(0, low !== undefined, high !== undefined);
  const parts = digits.length === 0 ? [] : [`"." (${digits.join(" | ")})`];
  if (reader.ends(0, low !== undefined, high !== undefined)) parts.push('""');
  return parts.length === 0 ? undefined : `(${parts.join(" | ")})`;
}

class Fraction {
  constructor(
    private readonly low: Digits | undefined,
    private readonly high: Digits | undefined,
    private readonly length: number,
  ) {}

  /** Whether it may end before digit `at`, when it is still equal to the low bound, or to the high one. */
  ends(at: number, isLow: boolean, isHigh: boolean): boolean {
    const isZero = (digits: Digits) => /^0*$/.test(digits.fraction.slice(at));
    const aboveLow = !isLow || (isZero(this.low as Digits) && !(this.low as Digits).exclusive);
    const belowHigh = !isHigh || !isZero(this.high as Digits) || !(this.high as Digits).exclusive;
    return aboveLow && belowHigh;
  }

  /** Alternatives for the digits from `at` on, at least one. */
  digits(at: number, isLow: boolean, isHigh: boolean): string[] {
    const left = digitsMax - at;
    if (left <= 0) return [];
    if (!isLow && !isHigh) return [`[0-9]{1,${left}}`];
    if (at === this.length) {
      if (isHigh) return this.ends(at, isLow, isHigh) ? [`"0"{1,${left}}`] : [];
      if (!(this.low as Digits).exclusive) return [`[0-9]{1,${left}}`];
      return [`"0"{0,${left - 1}} [1-9] [0-9]{0,${left - 1}}`];
    }
    const from = isLow ? Number((this.low as Digits).fraction[at]) : 0;
    const to = isHigh ? Number((this.high as Digits).fraction[at]) : 9;
    const parts: string[] = [];
    for (let digit = from; digit <= to; digit++) {
      const [stillLow, stillHigh] = [isLow && digit === from, isHigh && digit === to];
      const rest = this.digits(at + 1, stillLow, stillHigh);
      if (this.ends(at + 1, stillLow, stillHigh)) rest.push('""');
      if (rest.length > 0) parts.push(`"${digit}" (${rest.join(" | ")})`);
    }
    return parts;
  }
}
