import type { KvFormat } from "./kv_format.ts";

/**
 * How a KV cache is stored: a JSON object that names the format of keys and values, for the whole
 * cache and, by rules, for single layers and KV heads. `Model.session`, `estimate` and `compareKv`
 * take one; `--kv-policy` reads one from a file.
 *
 * The first and the last tokens can be kept at full precision (`sinks`, `recent`): attention then reads the
 * first `sinks` of a sequence and, for each query, the last `recent` that it sees, its own included, from
 * pages of their own, and all others as they are stored. So min(n, sinks + recent) of n tokens are at full
 * precision after every step. Tokens that have left the window are not kept: a session can become shorter
 * by up to 64 tokens, or as short as its sinks; further back `Session.truncate` throws, and a fork at the
 * place to go back to is the way. Where tokens are evicted, they are those of the tokens that are left; of a
 * session in a pool with a limit they take memory of its own, and its pages aren't found by their content,
 * which is not all that its tokens are. Attention sinks are those of Xiao et al. 2024, "Efficient Streaming
 * Language Models with Attention Sinks", residual windows those of Liu et al. 2024, "KIVI".
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
 *
 * using narrow = model.session({ context: 1024, kv: { key: "q4_0", value: "q4_0", sinks: 4, recent: 128 } });
 * await narrow.prefill("The lighthouse at the end of the world");
 * console.log(narrow.kv.ledger().exact); // bytes of the tokens that are at full precision
 * ```
 */
export interface KvPolicy {
  /** Format of the keys where no rule says otherwise; `"f16"` by default. */
  readonly key?: KvFormat | KvStored | undefined;
  /** Format of the values where no rule says otherwise; `"f16"` by default. */
  readonly value?: KvFormat | KvStored | undefined;
  /** Tokens at the beginning that are kept at full precision too; 0 by default. */
  readonly sinks?: number | undefined;
  /** Tokens at the end that are kept at full precision too; 0 by default. */
  readonly recent?: number | undefined;
  /** What full precision is; `"f16"` by default. */
  readonly exact?: "f16" | "f32" | undefined;
  /** Exceptions. Where several fit, the last one holds. */
  readonly rules?: readonly KvRule[] | undefined;
  /**
   * The shape of the model that the policy was made for. With it, a model of another shape is refused
   * even where all rules would fit.
   */
  readonly shape?: KvShape | undefined;
}

/** A format for a part of a cache, or tokens at full precision for some of its layers. */
export interface KvRule {
  /** Layers, from 0; all without it. */
  readonly layers?: number | readonly number[] | undefined;
  /** KV heads, from 0; all without it. */
  readonly heads?: number | readonly number[] | undefined;
  /** Only keys or only values; both without it. */
  readonly which?: "key" | "value" | undefined;
  /** Needed unless the rule is about tokens at full precision. */
  readonly format?: KvFormat | KvStored | undefined;
  /** As in the policy, for these layers; a rule that has it is for all of their heads, keys and values. */
  readonly sinks?: number | undefined;
  /** As in the policy, for these layers; a rule that has it is for all of their heads, keys and values. */
  readonly recent?: number | undefined;
}

/** A format, and how values are turned before they are stored in it. */
export interface KvStored {
  readonly format: KvFormat;
  /**
   * Whether each head is multiplied with the Hadamard matrix over the root of its size first, which spreads
   * outliers over all its values (Ashkboos et al. 2024, "QuaRot"). Queries are multiplied too, so that scores
   * stay as they are, and what attention finds of values is multiplied back. Heads must have a power of two
   * of values; false by default.
   */
  readonly rotate?: boolean | undefined;
  /**
   * Whether keys are stored before their rotary embedding, where their channels differ most (Hooper et al. 2024,
   * "KVQuant"): attention decodes and rotates them whenever it reads them, which takes time but no memory, with
   * the bits of rotating what was stored. Of keys only; false by default.
   */
  readonly beforeRope?: boolean | undefined;
  /**
   * Of `int8_channel`, `int4` and `int2`: whether zero is a level and the scale goes by the largest magnitude, so
   * that there is no minimum beside it; false by default.
   */
  readonly symmetric?: boolean | undefined;
  /**
   * Of the same: values that share a scale. By default they are 32, and 64 of `int8_channel` in heads that are
   * multiples of 64. Of keys they are 32 or 64 tokens of a channel, and the layer must keep as many `recent` ones; of
   * values 32, 64 or 128 of a token. Heads are multiples of it.
   */
  readonly group?: 32 | 64 | 128 | undefined;
  /**
   * Of the same: the share of the values that is kept as f16 with its place, up to 0.25 in steps of 0.001; 0 by
   * default. In each group of tokens of a head of keys, and in each token of a head of values, these are the
   * values furthest from the mean of those that share their scale, in standard deviations, as many as the share
   * is, rounded up (of keys to a multiple of a quarter of the group, so that each token has a whole number of
   * bytes). They don't count for the scales of the others (Hooper et al. 2024, "KVQuant").
   */
  readonly outliers?: number | undefined;
}

/** Layers and KV heads of a model. */
export interface KvShape {
  readonly layers: number;
  readonly heads: number;
}
