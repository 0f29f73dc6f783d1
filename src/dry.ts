import { checkFields, checkInteger, checkNumber, found } from "./internal/check.ts";
import { checkLastN } from "./internal/last_n.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** How `dry` penalises repetitions. */
export interface DryOptions {
  /** Of the penalty, from 0, which switches it off, to 1,000,000; 0.8 by default. */
  readonly multiplier?: number | undefined;
  /** By which the penalty grows with each further token, from 1 to 1000; 1.75 by default. */
  readonly base?: number | undefined;
  /** The shortest repetition, in tokens, whose continuation is penalised: from 1; 2 by default. */
  readonly allowedLength?: number | undefined;
  /** How many of the last tokens of the text count; `Infinity`, by default, for as many as the context. */
  readonly lastN?: number | undefined;
  /**
   * Texts at which repetitions begin anew; by default a newline, a colon, a quotation mark and an asterisk.
   * With none the stage works without a model, as in draws from a tape.
   */
  readonly breakers?: readonly string[] | undefined;
}

/**
 * Don't repeat yourself: where the last L tokens of the text were there before, followed by some token, takes
 * multiplier · base^(L - allowedLength) off the logit of that token, if L is at least `allowedLength`
 * (Weidmann 2024, text-generation-webui 5677). A repetition begins behind the last token in whose text a
 * sequence breaker ends.
 *
 * @param options All have defaults.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { dry, sampleLogits } from "./mod.ts";
 *
 * const logits = Float32Array.of(0, 0, 50, 20);
 * const sampler = [dry({ multiplier: 40, breakers: [] })];
 * // 2 would repeat 0 1 2, of which two tokens are there: 50 - 40 · 1.75^0.
 * console.log(await sampleLogits(logits, { sampler, history: [0, 1, 2, 0, 1] })); // [3]
 * ```
 */
export function dry(options: DryOptions = {}): SamplerStage {
  checkFields(options, ["multiplier", "base", "allowedLength", "lastN", "breakers"], "dry");
  const { multiplier = 0.8, base = 1.75, allowedLength = 2, lastN = Infinity } = options;
  const { breakers = ["\n", ":", '"', "*"] } = options;
  const inRange = (least: number, most: number) => (value: number) =>
    value >= least && value <= most;
  checkNumber(multiplier, inRange(0, 1e6), "from 0 to 1000000", "the multiplier of dry");
  checkNumber(base, inRange(1, 1000), "from 1 to 1000", "the base of dry");
  const allowed_length = checkInteger(allowedLength, 1, 1 << 24, "the allowedLength of dry");
  const last_n = checkLastN(lastN, "dry");
  if (!Array.isArray(breakers)) {
    throw new TypeError(
      `Expected the breakers of dry to be an array of texts, but found ${found(breakers)}`,
    );
  }
  for (const text of breakers) {
    if (typeof text !== "string") {
      throw new TypeError(`Expected the breakers of dry to be texts, but found ${found(text)}`);
    }
    if (text === "") {
      throw new RangeError('Expected the breakers of dry to have characters, but found ""');
    }
  }
  return {
    name: "dry",
    params: { multiplier, base, allowed_length, last_n },
    data: [...breakers],
  };
}
