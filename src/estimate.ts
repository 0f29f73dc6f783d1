import { EngineError } from "./engine_error.ts";
import { cacheShape, fitsFormat } from "./internal/cache_shape.ts";
import { checkFields, checkInteger } from "./internal/check.ts";
import { kvLayouts, pageLength } from "./internal/kv_layout.ts";
import { checkPolicy, KvTable } from "./internal/kv_table.ts";
import type { KvFormat } from "./kv_format.ts";
import type { KvPolicy } from "./kv_policy.ts";
import { loadModel } from "./load_model.ts";

/** What `estimate` is asked for. */
export interface EstimateOptions {
  /** Tokens that shall fit; by default the model's context, at most 4096, as in `Model.session`. */
  readonly context?: number | undefined;
  /** The formats in which keys and values are kept; `"f16"` by default. */
  readonly kv?: KvPolicy | undefined;
}

/** What a model and one session will take. */
export interface MemoryEstimate {
  readonly context: number;
  /** Tensors of the file, in bytes. */
  readonly weightsBytes: number;
  /** What `Session.kv.bytes` will be. */
  readonly kvBytes: number;
  /** Part of `kvBytes` that one token takes. */
  readonly kvBytesPerToken: number;
  /** Bits of one value of a key, its part of the scale included; the mean over all heads. */
  readonly keyBits: number;
  /** Bits of one value of a value, its part of the scale included; the mean over all heads. */
  readonly valueBits: number;
  /** Weights and cache; buffers of the computation, some megabytes, come on top. */
  readonly bytes: number;
}

/** As `Model.session` has it when nothing else is asked for. */
const contextDefaultMax = 4096;

/**
 * Says what a model and its KV cache will take in memory, from the file's metadata; no weights are
 * read. LLaMA-2-7B at 2,048 tokens: 2 GiB of cache in `f32`, 1 GiB in `f16`, 0.53 GiB in `q8_0`,
 * 0.5 GiB in 8-bit floats, 0.28 GiB in `q4_0`.
 *
 * @param ref As in `loadModel`.
 * @param options Context length and formats of the cache.
 * @returns All figures in bytes but the bits.
 * @throws {EngineError} When the file can't be read or has no attention.
 * @throws {RangeError} When heads of this length can't be kept in the format.
 *
 * @example
 * ```ts
 * import { estimate } from "./mod.ts";
 *
 * const half = await estimate("smollm2", { context: 2048 });
 * const small = await estimate("smollm2", { context: 2048, kv: { key: "q8_0", value: "q8_0" } });
 * console.log(small.kvBytes / half.kvBytes); // 0.53125
 * ```
 */
export async function estimate(
  ref: string,
  options: EstimateOptions = {},
): Promise<MemoryEstimate> {
  checkFields(options, ["context", "kv"], "estimate");
  checkPolicy(options.kv, "kv");
  const given = options.context;
  if (given !== undefined) checkInteger(given, 1, 1 << 20, "context");

  using model = await loadModel(ref, { vocabularyOnly: true });
  const shape = cacheShape(model.metadata);
  if (shape === undefined) {
    throw new EngineError(
      "unsupported",
      `Expected a model with attention in ${model.info.path}, but found no heads in its metadata`,
    );
  }
  const { layers, heads, keyLength, valueLength } = shape;
  if (heads === undefined) {
    throw new EngineError(
      "unsupported",
      `Expected as many KV heads in each layer of ${model.info.path}, but its metadata names several counts`,
    );
  }
  const table = new KvTable(
    options.kv,
    { layers, heads, keyLength, valueLength },
    "kv",
  );
  for (const format of table.formats("key")) checkHead(keyLength, format, "keys");
  for (const format of table.formats("value")) checkHead(valueLength, format, "values");
  const context = given ?? Math.min(shape.contextTrain || contextDefaultMax, contextDefaultMax);
  const weightsBytes = model.tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const kvBytes = table.bytes(context);
  return {
    context,
    weightsBytes,
    kvBytes,
    kvBytesPerToken: table.pageBytes() / pageLength,
    keyBits: table.bits("key"),
    valueBits: table.bits("value"),
    bytes: weightsBytes + kvBytes,
  };
}

function checkHead(length: number, format: KvFormat, side: string): void {
  if (fitsFormat(length, format)) return;
  throw new RangeError(
    `Expected heads of a multiple of ${
      kvLayouts[format].unit
    } values to keep ${side} in ${format}, but found ${length}`,
  );
}
