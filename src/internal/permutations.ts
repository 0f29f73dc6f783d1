/** All orders of a list, the list's own first, each in the order of its places. */
export function* permutations<T>(list: readonly T[]): Generator<readonly T[]> {
  if (list.length < 2) return yield [...list];
  for (const [i, first] of list.entries()) {
    for (const rest of permutations([...list.slice(0, i), ...list.slice(i + 1)])) {
      yield [first, ...rest];
    }
  }
}
