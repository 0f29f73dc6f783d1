/**
 * Eviction policies as the engine takes them, and the answers of those that are functions.
 *
 * @module
 */
import { EngineError } from "../engine_error.ts";
import type { EvictFunction } from "../evict_by.ts";
import type { EvictPolicy } from "../evict_policy.ts";
import { EvictPolicyId, EvictScoringId } from "../ffi/symbols.gen.ts";
import { checkChoice, checkFields, checkFunction, checkInteger, found } from "./check.ts";
import type { KvWindow } from "./kv_windows.ts";

/** A checked policy. */
export interface EvictSettings {
  /** Fields of the native session options. */
  readonly fields: {
    readonly evict_policy: number;
    readonly evict_budget: number;
    readonly evict_every: number;
    readonly evict_sinks: number;
    readonly evict_recent: number;
    readonly evict_window: number;
    readonly evict_pooling: number;
    readonly evict_scoring: number;
    readonly evict_cache_positions: number;
  };
  readonly budget: number;
  readonly choose: EvictFunction | undefined;
}

/** Instead of a sampler stage's number, when the engine asks which tokens stay. */
export const evictQuestion = 0xffff_ffff;

const names = ["sliding_window", "h2o", "snap_kv", "tova", "script"] as const;
const common = ["name", "budget", "every"];
const own: Readonly<Record<typeof names[number], readonly string[]>> = {
  sliding_window: ["sinks", "recent", "positions"],
  h2o: ["recent"],
  snap_kv: ["window", "pooling"],
  tova: [],
  script: ["scores", "choose"],
};
const countMax = 1 << 20;

/** Checks a policy. */
export function evictSettings(policy: EvictPolicy): EvictSettings {
  if (typeof policy !== "object" || policy === null) {
    const how = typeof policy === "function" ? "; evictBy(choose, { budget }) makes one of it" : "";
    throw new TypeError(
      `Expected evict to be a policy (${names.join(", ")}), but found ${found(policy)}${how}`,
    );
  }
  const name = checkChoice(policy.name, names, "evict.name");
  if (name === undefined) {
    throw new TypeError(`Expected evict to be a policy (${names.join(", ")}), but found none`);
  }
  checkFields(policy, [...common, ...own[name]], `evict (${name})`);
  const count = (field: "every" | "sinks" | "recent" | "window" | "pooling", least: number) =>
    policy[field] === undefined
      ? least
      : checkInteger(policy[field], least, countMax, `evict.${field}`);
  const { choose } = policy;
  checkFunction(choose, "evict.choose");
  if (name === "script" && choose === undefined) {
    throw new TypeError("Expected evict.choose to be a function, but found none");
  }
  const budget = checkInteger(policy.budget, 1, countMax, "evict.budget");
  const positions = checkChoice(policy.positions, ["cache", "text"], "evict.positions");
  const scores = checkChoice(policy.scores, ["none", "sum", "last"], "evict.scores") ?? "sum";
  return {
    budget,
    choose,
    fields: {
      evict_policy: EvictPolicyId[name],
      evict_budget: budget,
      evict_every: count("every", 1),
      evict_sinks: count("sinks", 0),
      evict_recent: count("recent", 0),
      evict_window: count("window", 0),
      evict_pooling: count("pooling", 1),
      evict_scoring: EvictScoringId[name === "script" ? scores : "none"],
      evict_cache_positions: name === "sliding_window" && positions !== "text" ? 1 : 0,
    },
  };
}

/** For each token 1 if a function keeps it, and 0 if it goes; those that are at full precision have to stay. */
export function chooseKept(
  settings: EvictSettings | undefined,
  next: number,
  positions: Uint32Array<ArrayBuffer>,
  scores: Float32Array<ArrayBuffer>,
  pinned: KvWindow,
): Float32Array<ArrayBuffer> {
  const { budget, choose } = settings!;
  const count = positions.length;
  const ages = positions.map((position) => next - position);
  let kept: unknown;
  try {
    kept = choose!({ count, budget, scores: scores.slice(), positions: positions.slice(), ages });
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError("evict-failed", `evictBy: ${text}`, { cause });
  }
  const answer = new Float32Array(count);
  const fail = (what: string) =>
    new EngineError(
      "evict-failed",
      `evictBy: Expected from 1 to ${budget} different indices under ${count}, but found ${what}`,
    );
  if (!Array.isArray(kept) && !ArrayBuffer.isView(kept)) throw fail(String(kept));
  const indices = Array.from(kept as ArrayLike<number>);
  if (indices.length === 0 || indices.length > budget) throw fail(`${indices.length} of them`);
  for (const index of indices) {
    if (!Number.isInteger(index) || index < 0 || index >= count) throw fail(String(index));
    if (answer[index] === 1) throw fail(`${index} twice`);
    answer[index] = 1;
  }
  const { sinks, recent } = pinned;
  const gone = answer.findIndex((is, i) => is === 0 && (i < sinks || i >= count - recent));
  if (gone < 0) return answer;
  throw new EngineError(
    "evict-failed",
    `evictBy: Expected the first ${sinks} and the last ${recent} of ${count} tokens, which are at full ` +
      `precision, to stay, but found ${gone} not among those kept`,
  );
}
