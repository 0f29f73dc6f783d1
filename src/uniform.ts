import { checkFields, checkInteger } from "./internal/check.ts";
import { checkSeed } from "./internal/generation_settings.ts";
import { philoxInto } from "./philox.ts";

/** Which random number is meant. */
export interface UniformKey {
  /** From 0 to 2^64 - 1; 0 by default. */
  readonly seed?: number | bigint | undefined;
  /** From 0 to 2^32 - 1; 0 by default, which is that of every session. */
  readonly sequence?: number | undefined;
  /** The token's place in the sequence, as in `Step.position`; 0 by default. */
  readonly position?: number | undefined;
  /**
   * Tells several numbers for one token apart, from 0 to 2^32 - 1. 0, the default, is the final draw
   * of a chain; stages that need numbers of their own use others.
   */
  readonly draw?: number | undefined;
}

/**
 * The random number that the engine uses for a token: uniform in [0, 1) with 53 bits, a function of
 * seed, sequence, position and draw, so that any token can be drawn again, alone. It is the first two
 * words of a block of `philox` with the seed as key, low word first, and the counter (position, low
 * word first; sequence; draw).
 *
 * The final draw takes, with the candidates in ascending order of their ids, the first at which the
 * cumulative probability exceeds this number.
 *
 * @param key Which number.
 * @returns From 0 to below 1.
 *
 * @example
 * ```ts
 * import { sampleLogits, uniform } from "./mod.ts";
 *
 * const logits = new Float32Array(10); // all equally probable
 * const tokens = await sampleLogits(logits, { seed: 7, count: 5 });
 * const drawn = Array.from(tokens, (_, position) => Math.floor(10 * uniform({ seed: 7, position })));
 * console.log(tokens, drawn); // the same
 * ```
 */
export function uniform(key: UniformKey = {}): number {
  checkFields(key, ["seed", "sequence", "position", "draw"], "uniform");
  const word = (value: number | undefined, what: string) =>
    checkInteger(value ?? 0, 0, 0xffff_ffff, what);
  const seed = checkSeed(key.seed ?? 0);
  const position = checkInteger(key.position ?? 0, 0, Number.MAX_SAFE_INTEGER, "position");
  const sequence = word(key.sequence, "sequence");
  return keyedUniform(seedWords(seed), position, sequence, word(key.draw, "draw"));
}

/** The two words of a seed. */
export function seedWords(seed: bigint): readonly [number, number] {
  return [Number(seed & 0xffff_ffffn), Number(seed >> 32n)];
}

const block = new Uint32Array(4);

/** The same without checks. */
export function keyedUniform(
  [low, high]: readonly [number, number],
  position: number,
  sequence: number,
  draw: number,
): number {
  philoxInto(block, position >>> 0, Math.floor(position / 2 ** 32), sequence, draw, low, high);
  // The upper 53 bits of words 1 and 0 put together.
  return ((block[1] as number) * 2 ** 21 + ((block[0] as number) >>> 11)) * 2 ** -53;
}
