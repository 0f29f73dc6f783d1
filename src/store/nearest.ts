/**
 * The name that was probably meant: the one with the fewest single-character changes, if those are
 * few for the length of the word.
 *
 * @param word What was written.
 * @param names What could have been.
 * @returns The nearest name, or nothing when none is near.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const name of names) {
    const d = distance(word.toLowerCase(), name.toLowerCase());
    if (d >= bestDistance) continue;
    best = name;
    bestDistance = d;
  }
  return best;
}

/** Levenshtein's distance by rows; words longer than 64 characters are near nothing. */
function distance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
