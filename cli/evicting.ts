/**
 * Eviction on the command line: which tokens a cache of limited size keeps.
 *
 * @module
 */

import { type EvictPolicy, h2o, slidingWindow, snapKv, tova } from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { CommandOption } from "./command.ts";

/** The option that chooses the policy. */
export const evictOptions = {
  evict: {
    value: "POLICY",
    help: "keep a budget of tokens in the KV cache: window=SINKS:RECENT[:EVERY], " +
      "h2o=BUDGET[:RECENT[:EVERY]], tova=BUDGET[:EVERY] or snapkv=BUDGET[:WINDOW[:POOLING]]",
  },
} as const satisfies Record<string, CommandOption>;

type Numbers = readonly (number | undefined)[];

/** Each policy: how many numbers it needs and takes, and what they mean. */
const policies: Readonly<
  Record<string, readonly [number, number, (numbers: Numbers) => EvictPolicy]>
> = {
  window: [2, 3, ([sinks, recent, every]) => slidingWindow({ sinks, recent: recent!, every })],
  h2o: [1, 3, ([budget, recent, every]) => h2o({ budget: budget!, recent, every })],
  tova: [1, 2, ([budget, every]) => tova({ budget: budget!, every })],
  snapkv: [1, 3, ([budget, window, pooling]) => snapKv({ budget: budget!, window, pooling })],
};

/** The policy that the option names; nothing without it. */
export function evictionOf(given: Arguments): EvictPolicy | undefined {
  const text = given.text("evict");
  if (text === undefined) return undefined;
  const [name, list, ...more] = text.split("=") as [string, string | undefined, ...string[]];
  const policy = policies[name];
  const words = list?.split(":") ?? [];
  const [least, most] = policy ?? [1, 0];
  const fits = more.length === 0 && words.length >= least && words.length <= most &&
    words.every((word) => /^\d{1,9}$/.test(word));
  if (policy === undefined || !fits) {
    throw new UsageError(
      "Expected window=SINKS:RECENT[:EVERY], h2o=BUDGET[:RECENT[:EVERY]], tova=BUDGET[:EVERY] or " +
        `snapkv=BUDGET[:WINDOW[:POOLING]] after --evict, but found "${text}"`,
    );
  }
  if (given.has("restore")) {
    throw new UsageError(
      "Expected a session of its own to evict tokens from, but found --restore",
    );
  }
  try {
    return policy[2](words.map(Number));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
