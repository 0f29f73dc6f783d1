import type { KvFormat } from "./kv_format.ts";

/**
 * How a KV cache is stored: a JSON object that names the format of keys and values, for the whole
 * cache and, by rules, for single layers and KV heads. `Model.session`, `estimate` and `compareKv`
 * take one; `--kv-policy` reads one from a file.
 *
 * @example
 * ```ts
 * import { type KvPolicy, loadModel } from "./mod.ts";
 *
 * const policy: KvPolicy = {
 *   key: "q8_0",
 *   value: "f8_e4m3",
 *   rules: [
 *     { layers: [0, 1], format: "f16" }, // the first two layers, keys and values
 *     { layers: 1, heads: 0, which: "key", format: "f32" }, // and one head's keys
 *   ],
 * };
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256, kv: policy });
 * console.log(session.kv.format({ which: "key", layer: 1, head: 0 })); // f32
 * console.log(session.kv.format({ which: "key", layer: 1, head: 1 })); // f16
 * ```
 */
export interface KvPolicy {
  /** Format of the keys where no rule says otherwise; `"f16"` by default. */
  readonly key?: KvFormat | undefined;
  /** Format of the values where no rule says otherwise; `"f16"` by default. */
  readonly value?: KvFormat | undefined;
  /** Exceptions. Where several fit, the last one holds. */
  readonly rules?: readonly KvRule[] | undefined;
  /**
   * The shape of the model that the policy was made for. With it, a model of another shape is refused
   * even where all rules would fit.
   */
  readonly shape?: KvShape | undefined;
}

/** A format for a part of a cache. */
export interface KvRule {
  /** Layers, from 0; all without it. */
  readonly layers?: number | readonly number[] | undefined;
  /** KV heads, from 0; all without it. */
  readonly heads?: number | readonly number[] | undefined;
  /** Only keys or only values; both without it. */
  readonly which?: "key" | "value" | undefined;
  readonly format: KvFormat;
}

/** Layers and KV heads of a model. */
export interface KvShape {
  readonly layers: number;
  readonly heads: number;
}
