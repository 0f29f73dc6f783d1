/**
 * The net below `using`: what a program forgets to dispose of is released some time after it can't
 * be reached any more. Nothing depends on when, or whether, that happens.
 *
 * @module
 */
const registry = new FinalizationRegistry<() => void>((release) => release());

/** Calls `release` after `owner` is collected, unless `unguard` came first. */
export function guard(owner: object, release: () => void): void {
  registry.register(owner, release, owner);
}

/** The owner was disposed of in order. */
export function unguard(owner: object): void {
  registry.unregister(owner);
}
