import { EngineError } from "./engine_error.ts";
import { cacheBytes, cacheShape, fitsFormat } from "./internal/cache_shape.ts";
import { checkChoice, checkFields, checkInteger } from "./internal/check.ts";
import { kvBits, kvLayouts } from "./internal/kv_layout.ts";
import { type KvFormat, kvFormats } from "./kv_format.ts";
import { loadModel } from "./load_model.ts";

/** What `estimate` is asked for. */
export interface EstimateOptions {
  /** Tokens that shall fit; by default the model's context, at most 4096, as in `Model.session`. */
  readonly context?: number | undefined;
  /** Formats of keys and values; `"f16"` by default. */
  readonly kv?: { readonly key?: KvFormat | undefined; readonly value?: KvFormat | undefined };
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
  /** Bits of one value of a key, its part of the scale included. */
  readonly keyBits: number;
  /** Bits of one value of a value, its part of the scale included. */
  readonly valueBits: number;
  /** Weights and cache; buffers of the computation, some megabytes, come on top. */
  readonly bytes: number;
}

/** As `Model.session` has it when nothing else is asked for. */
const contextDefaultMax = 4096;

/**
 * Says what a model and its KV cache will take in memory, from the file's metadata; no weights are
 * read. LLaMA-2-7B at 2,048 tokens: 2 GiB of cache in `f32`, 1 GiB in `f16`, 0.53 GiB in `q8_0`,
 * 0.5 GiB in 8-bit floats.
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
  const kv = options.kv ?? {};
  checkFields(kv, ["key", "value"], "estimate (kv)");
  const key = checkChoice(kv.key, kvFormats, "kv.key") ?? "f16";
  const value = checkChoice(kv.value, kvFormats, "kv.value") ?? "f16";
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
  checkHead(shape.keyLength, key, "keys");
  checkHead(shape.valueLength, value, "values");
  const context = given ?? Math.min(shape.contextTrain || contextDefaultMax, contextDefaultMax);
  const weightsBytes = model.tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const kvBytes = cacheBytes(shape, key, value, context);
  const bits = [kvBits(key), kvBits(value)] as const;
  return {
    context,
    weightsBytes,
    kvBytes,
    kvBytesPerToken: (shape.keyValues * bits[0] + shape.valueValues * bits[1]) / 8,
    keyBits: bits[0],
    valueBits: bits[1],
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
