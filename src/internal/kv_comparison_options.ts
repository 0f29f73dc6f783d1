/**
 * Checks what `compareKv` is asked for.
 *
 * @module
 */
import type { CompareKvOptions } from "../compare_kv.ts";
import type { KvPolicy } from "../kv_policy.ts";
import type { Model } from "../model.ts";
import { checkFields, checkFunction, checkInteger, checkSignal, found } from "./check.ts";
import { checkPolicy } from "./kv_table.ts";

/** With everything filled in. */
export interface ComparisonSettings {
  readonly reference: KvPolicy;
  readonly candidates: readonly KvPolicy[];
  readonly context: number;
  readonly speedTokens: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: CompareKvOptions["onProgress"];
}

const contextDefault = 512;
const fields = ["reference", "candidates", "context", "speedTokens", "signal", "onProgress"];

/** The options with defaults. */
export function checkComparison(model: Model, options: CompareKvOptions): ComparisonSettings {
  checkFields(options, fields, "compareKv");
  const { candidates } = options;
  if (!Array.isArray(candidates) || candidates.length === 0) {
    throw new TypeError(
      `Expected candidates to be an array of at least one cache, but found ${found(candidates)}`,
    );
  }
  const most = model.info.contextTrain || contextDefault;
  checkFunction(options.onProgress, "onProgress");
  return {
    reference: checkPolicy(options.reference ?? { key: "f32", value: "f32" }, "reference"),
    candidates: candidates.map((kv, i) => checkPolicy(kv, `candidates[${i}]`)),
    context: options.context === undefined
      ? Math.min(contextDefault, most)
      : checkInteger(options.context, 2, 1 << 20, "context"),
    speedTokens: options.speedTokens === undefined
      ? 16
      : checkInteger(options.speedTokens, 0, 4096, "speedTokens"),
    signal: checkSignal(options.signal, "signal"),
    onProgress: options.onProgress,
  };
}
