import { checkInteger, found } from "./internal/check.ts";

/**
 * One block of the engine's random number generator, Philox4x32 with ten rounds (Salmon, Moraes, Dror
 * and Shaw 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"): a pure function of a counter and a
 * key, without any state. The vectors that its authors published (Random123, `kat_vectors`) are among
 * the tests. `uniform` is what sampling makes of it.
 *
 * @param counter Four words of 32 bits.
 * @param key Two words of 32 bits.
 * @returns Four words of 32 bits.
 *
 * @example
 * ```ts
 * import { philox } from "./mod.ts";
 *
 * const words = philox([0, 0, 0, 0], [0, 0]);
 * console.log([...words].map((word) => word.toString(16))); // 6627e8d5 e169c58d bc57ac4c 9b00dbd8
 * ```
 */
export function philox(
  counter: readonly number[] | Uint32Array,
  key: readonly number[] | Uint32Array,
): Uint32Array<ArrayBuffer> {
  const [a, b, c, d] = words(counter, 4, "counter") as unknown as [number, number, number, number];
  const [low, high] = words(key, 2, "key") as unknown as [number, number];
  const block = new Uint32Array(4);
  philoxInto(block, a, b, c, d, low, high);
  return block;
}

function words(values: readonly number[] | Uint32Array, count: number, what: string): number[] {
  if (!Array.isArray(values) && !(values instanceof Uint32Array)) {
    throw new TypeError(`Expected ${what} to be ${count} words, but found ${found(values)}`);
  }
  if (values.length !== count) {
    throw new RangeError(`Expected ${what} to be ${count} words, but found ${values.length}`);
  }
  return Array.from(values, (word, i) => checkInteger(word, 0, 0xffff_ffff, `${what}[${i}]`));
}

/** The same without checks, into `block`: comparisons draw millions. */
export function philoxInto(
  block: Uint32Array,
  a: number,
  b: number,
  c: number,
  d: number,
  low: number,
  high: number,
): void {
  for (let round = 0; round < 10; round++) {
    const first = a;
    const third = c;
    a = highProduct(0xcd9e8d57, third) ^ b ^ low;
    b = Math.imul(0xcd9e8d57, third);
    c = highProduct(0xd2511f53, first) ^ d ^ high;
    d = Math.imul(0xd2511f53, first);
    low = (low + 0x9e3779b9) | 0; // The golden ratio.
    high = (high + 0xbb67ae85) | 0; // sqrt(3) - 1.
  }
  block[0] = a;
  block[1] = b;
  block[2] = c;
  block[3] = d;
}

/** The upper 32 bits of a product of two unsigned words, from products of halves. */
function highProduct(x: number, y: number): number {
  const xLow = x & 0xffff;
  const xHigh = x >>> 16;
  const yLow = y & 0xffff;
  const yHigh = y >>> 16;
  const middle = xHigh * yLow + ((xLow * yLow) >>> 16);
  const other = xLow * yHigh + (middle & 0xffff);
  return (xHigh * yHigh + (middle >>> 16) + (other >>> 16)) >>> 0;
}
