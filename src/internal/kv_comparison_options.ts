/**
 * Checks what `compareKv` is asked for.
 *
 * @module
 */
import type { CompareKvOptions } from "../compare_kv.ts";
import type { KvPolicy } from "../kv_policy.ts";
import type { Model } from "../model.ts";
import {
  checkBoolean,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  found,
} from "./check.ts";
import { SimulationTable } from "./kv_simulation.ts";
import { cacheShapeOf, KvTable, type KvTableShape, policyFields } from "./kv_table.ts";
import type { KvSimulation } from "../kv_simulation.ts";

/** A cache, real or simulated. */
export type ComparedCache =
  | { readonly policy: KvPolicy; readonly simulation?: undefined }
  | { readonly policy?: undefined; readonly simulation: KvSimulation };

/** With everything filled in. */
export interface ComparisonSettings {
  readonly reference: ComparedCache;
  readonly candidates: readonly ComparedCache[];
  readonly context: number;
  readonly speedTokens: number;
  readonly attentionError: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: CompareKvOptions["onProgress"];
}

const contextDefault = 512;
const fields = [
  ...["reference", "candidates", "context", "speedTokens", "attentionError", "signal"],
  "onProgress",
];

/** The options with defaults. */
export function checkComparison(model: Model, options: CompareKvOptions): ComparisonSettings {
  checkFields(options, fields, "compareKv");
  const { candidates } = options;
  if (!Array.isArray(candidates) || candidates.length === 0) {
    throw new TypeError(
      `Expected candidates to be an array of at least one cache, but found ${found(candidates)}`,
    );
  }
  const shape = cacheShapeOf(model.info);
  const { reference = { key: "f32", value: "f32" } } = options;
  const most = model.info.contextTrain || contextDefault;
  checkFunction(options.onProgress, "onProgress");
  return {
    reference: { policy: policyOf(reference, shape, "reference") },
    candidates: candidates.map((given, i) => checkCache(given, shape, `candidates[${i}]`)),
    context: options.context === undefined
      ? Math.min(contextDefault, most)
      : checkInteger(options.context, 2, 1 << 20, "context"),
    speedTokens: options.speedTokens === undefined
      ? 16
      : checkInteger(options.speedTokens, 0, 4096, "speedTokens"),
    attentionError: checkBoolean(options.attentionError, "attentionError") ?? true,
    signal: checkSignal(options.signal, "signal"),
    onProgress: options.onProgress,
  };
}

function checkCache(given: unknown, shape: KvTableShape, what: string): ComparedCache {
  if (typeof given !== "object" || given === null || !("simulate" in given)) {
    return { policy: policyOf(given, shape, what) };
  }
  checkFields(given, ["simulate"], what);
  const simulation = given.simulate as KvSimulation;
  // Here the error says which one it is; the session that simulates lays it out again.
  void new SimulationTable(simulation, shape, `${what}.simulate`);
  return { simulation };
}

function policyOf(given: unknown, shape: KvTableShape, what: string): KvPolicy {
  // Only what is missing altogether has a default.
  checkFields(given, policyFields, what);
  return new KvTable(given as KvPolicy, shape, what).policy;
}
