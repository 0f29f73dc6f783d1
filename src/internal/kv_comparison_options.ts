/**
 * Checks what `compareKv` is asked for.
 *
 * @module
 */
import type { CompareKvOptions, KvFormats } from "../compare_kv.ts";
import { type KvFormat, kvFormats } from "../kv_format.ts";
import type { Model } from "../model.ts";
import {
  checkChoice,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  found,
} from "./check.ts";

/** With everything filled in. */
export interface ComparisonSettings {
  readonly reference: { readonly key: KvFormat; readonly value: KvFormat };
  readonly candidates: readonly { readonly key: KvFormat; readonly value: KvFormat }[];
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
    reference: formatsOf(options.reference ?? { key: "f32", value: "f32" }, "reference"),
    candidates: candidates.map((kv, i) => formatsOf(kv, `candidates[${i}]`)),
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

function formatsOf(kv: KvFormats, what: string): { key: KvFormat; value: KvFormat } {
  checkFields(kv, ["key", "value"], what);
  return {
    key: checkChoice(kv.key, kvFormats, `${what}.key`) ?? "f16",
    value: checkChoice(kv.value, kvFormats, `${what}.value`) ?? "f16",
  };
}
