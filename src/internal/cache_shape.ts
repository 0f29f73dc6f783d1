/**
 * What a model's metadata says about its KV cache, before any weights are there.
 *
 * @module
 */
import type { KvFormat } from "../kv_format.ts";
import type { MetadataValue } from "../metadata_value.ts";
import { kvBits, kvLayouts, pageLength } from "./kv_layout.ts";

/** The shape of a KV cache. */
export interface CacheShape {
  readonly layers: number;
  /** KV heads of a layer; nothing when layers differ in it. */
  readonly heads: number | undefined;
  /** Values of the keys that one token takes, of all layers and heads. */
  readonly keyValues: number;
  /** The same of the values. */
  readonly valueValues: number;
  /** Values of one head, of keys and of values. */
  readonly keyLength: number;
  readonly valueLength: number;
  /** Tokens that the model was trained with; 0 when the file doesn't say. */
  readonly contextTrain: number;
}

/** Reads the shape of the cache; nothing where the file has no layers with attention. */
export function cacheShape(
  metadata: { get(key: string): MetadataValue | undefined },
): CacheShape | undefined {
  const prefix = String(metadata.get("general.architecture"));
  const values = (key: string): number[] => {
    const value = metadata.get(`${prefix}.${key}`);
    if (typeof value === "number") return [value];
    return typeof value === "object" ? value.slice().map(Number) : [];
  };
  const one = (key: string) => values(key)[0];
  const layers = one("block_count");
  const heads = values("attention.head_count");
  const embedding = one("embedding_length");
  const [firstHeads] = heads;
  if (layers === undefined || firstHeads === undefined || embedding === undefined) return undefined;
  const kvHeads = values("attention.head_count_kv");
  const counts = kvHeads.length > 0 ? kvHeads : heads;
  // One number stands for all layers; a list has one for each.
  const all = counts.length === 1
    ? (counts[0] as number) * layers
    : counts.slice(0, layers).reduce((sum, count) => sum + count, 0);
  const keyLength = one("attention.key_length") ?? embedding / firstHeads;
  const valueLength = one("attention.value_length") ?? embedding / firstHeads;
  return {
    layers,
    heads: new Set(counts).size === 1 ? counts[0] : undefined,
    keyValues: all * keyLength,
    valueValues: all * valueLength,
    keyLength,
    valueLength,
    contextTrain: one("context_length") ?? 0,
  };
}

/** Whether heads of this length can be kept in the format. */
export function fitsFormat(length: number, format: KvFormat): boolean {
  return length % kvLayouts[format].unit === 0;
}

/** What `Session.kv.bytes` will be: whole pages. */
export function cacheBytes(
  shape: CacheShape,
  key: KvFormat,
  value: KvFormat,
  context: number,
): number {
  const bits = shape.keyValues * kvBits(key, shape.keyLength) +
    shape.valueValues * kvBits(value, shape.valueLength);
  return bits / 8 * Math.ceil(context / pageLength) * pageLength;
}
