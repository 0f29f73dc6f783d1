/**
 * The rotary embedding of keys that a file has before it (Su et al. 2021, "RoFormer"), as the engine computes it.
 *
 * @module
 */

/** The rotary embedding of some layers. */
export interface Rotation {
  readonly layers: readonly number[];
  /** `norm`: pairs are (0, 1), (2, 3), …; `neox`: (0, n), (1, n + 1), … of 2 n values. */
  readonly style: "norm" | "neox";
  /** Multiplies cosine and sine. */
  readonly magnitude: number;
  /** Angle per position of each pair. */
  readonly frequencies: readonly number[];
  /** Those of sessions with a context longer than `original`. */
  readonly long?: readonly number[];
  readonly original?: number;
}

/** Rotates [rows][length] keys of positions from `position` on, in a session of so long a context. */
export function rotateRows(
  keys: Float32Array,
  length: number,
  position: number,
  context: number,
  { style, magnitude, frequencies, long, original = 0 }: Rotation,
): void {
  const chosen = long !== undefined && context > original ? long : frequencies;
  const { fround } = Math;
  const [step, apart] = style === "norm" ? [2, 1] : [1, chosen.length];
  for (let row = 0; row < keys.length / length; row++) {
    for (const [pair, frequency] of chosen.entries()) {
      const angle = (position + row) * frequency;
      const cos = fround(Math.cos(angle) * magnitude);
      const sin = fround(Math.sin(angle) * magnitude);
      const first = row * length + pair * step;
      const [a, b] = [keys[first] as number, keys[first + apart] as number];
      // Rounded after each product and again after the sum.
      keys[first] = fround(a * cos) - fround(b * sin);
      keys[first + apart] = fround(a * sin) + fround(b * cos);
    }
  }
}
