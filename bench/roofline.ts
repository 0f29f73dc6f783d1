/**
 * The limit of a row: what the machine allowed while its rounds ran.
 *
 * @module
 */

import type { MachineLimits } from "../mod.ts";
import type { Row } from "./result.ts";
import type { FileFormat } from "./shapes.ts";
import { spread } from "./statistics.ts";

/** What bounds a row: bytes a second, or operations. */
export type Bound = "read bandwidth" | "int8 peak" | "f32 peak";

const rates: Readonly<Record<Bound, (limits: MachineLimits) => number>> = {
  "read bandwidth": (limits) => limits.readBytes,
  "int8 peak": (limits) => limits.int8Ops,
  "f32 peak": (limits) => limits.f32Ops,
};

/**
 * The arithmetic that bounds a format. F16 is multiplied in f32: its weights have eleven bits, and BF16 dot
 * products, which may be faster, would keep eight of them.
 */
export function arithmeticOf(format: FileFormat): Bound {
  return format === "F16" ? "f32 peak" : "int8 peak";
}

/** The rate over some looks at the machine. Times add up, so that it is their mean that counts. */
export function rateOver(bound: Bound, looks: readonly MachineLimits[]): number {
  if (looks.length === 0) throw new RangeError("Expected at least one look, but found none");
  return looks.length / looks.reduce((sum, look) => sum + 1 / rates[bound](look), 0);
}

/**
 * The limit of a row. Neighbours change within seconds what a virtual machine can do, so each round is judged by
 * the looks before and after it; the share of the row is the median of its rounds' shares, and the limit is what
 * the median figure is that share of.
 *
 * @param amount Bytes or operations a token.
 * @param unit Of the figures: tokens a second, or milliseconds a token.
 * @param figures Ours, one a round.
 * @param looks Around each of these rounds.
 */
export function limitOf(
  bound: Bound,
  amount: number,
  unit: "tok/s" | "ms",
  figures: readonly number[],
  looks: readonly (readonly MachineLimits[])[],
): NonNullable<Row["limit"]> {
  const shares = figures.map((figure, i) => {
    const rate = rateOver(bound, looks[i] ?? []);
    return unit === "ms" ? amount / rate * 1000 / figure : figure * amount / rate;
  });
  const figure = spread(figures).median;
  const share = spread(shares).median;
  return { value: unit === "ms" ? figure * share : figure / share, of: bound };
}
