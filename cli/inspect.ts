/**
 * `vitrine inspect`: what a GGUF file holds, and what its KV cache will take.
 *
 * @module
 */

import { statSync } from "node:fs";
import type { KvFormat, MetadataValue, Model } from "../mod.ts";
import { type Command, commonOptions } from "./command.ts";
import { openModel } from "./model.ts";
import { bytesText, print, printJson, table } from "./output.ts";

const contexts = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072];
const valueBytes: Readonly<Record<KvFormat, number>> = {
  ...{ f32: 4, f16: 2, bf16: 2, q8_0: 34 / 32, f8_e4m3: 1, f8_e5m2: 1 },
};
/** Values of a head that share a scale. */
const scaleUnit = 32;

/** The command. */
export const inspect: Command = {
  name: "inspect",
  summary: "show what a model file holds",
  usage: "MODEL",
  description: [
    "Prints the metadata, the tensors, the formats with their shares of the file, and the size of the",
    "KV cache by context length and format. No weights are loaded.",
  ],
  options: {
    full: { help: "print arrays and tensors to the end" },
    ...commonOptions,
  },
  positionals: [1, 1],
  run: async (given) => {
    using model = await openModel(given.positionals[0] as string, given, { vocabularyOnly: true });
    const isFull = given.has("full");
    if (given.has("json")) printJson(resultOf(model, isFull));
    else printAll(model, isFull);
    return 0;
  },
};

/** What the metadata says about the cache: values of keys and of values that one token takes. */
interface CacheShape {
  readonly keyValues: number;
  readonly valueValues: number;
  /** Values of one head, of keys and of values. */
  readonly lengths: readonly [number, number];
  readonly contextTrain: number;
}

/** Reads the shape of the cache; nothing where the file has no layers with attention. */
function cacheShape(model: Model): CacheShape | undefined {
  const { metadata } = model;
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
    keyValues: all * keyLength,
    valueValues: all * valueLength,
    lengths: [keyLength, valueLength],
    contextTrain: one("context_length") ?? 0,
  };
}

/** What `Session.kv.bytes` will be. */
function cacheBytes(
  shape: CacheShape,
  key: KvFormat,
  value: KvFormat,
  context: number,
): number {
  return (shape.keyValues * valueBytes[key] + shape.valueValues * valueBytes[value]) * context;
}

/** The context lengths worth a row: up to what the model was trained with, and that itself. */
function contextsOf({ contextTrain }: CacheShape): number[] {
  const shorter = contexts.filter((context) => context < contextTrain);
  return contextTrain > 0 ? [...shorter, contextTrain] : contexts;
}

/** Tensors and bytes by format, the largest share first. */
function formatsOf(model: Model): { format: string; tensors: number; bytes: number }[] {
  const formats = new Map<string, { format: string; tensors: number; bytes: number }>();
  for (const { format, bytes } of model.tensors) {
    const row = formats.get(format) ?? { format, tensors: 0, bytes: 0 };
    row.tensors++;
    row.bytes += bytes;
    formats.set(format, row);
  }
  return [...formats.values()].sort((a, b) => b.bytes - a.bytes);
}

const pairs: readonly (readonly [KvFormat, KvFormat])[] = [
  ["f32", "f32"],
  ["f16", "f16"],
  ["bf16", "bf16"],
  ["q8_0", "q8_0"],
  ["f8_e4m3", "f8_e4m3"],
  ["f32", "f16"],
  ["f16", "f32"],
  ["q8_0", "f16"],
];

/** The pairs of formats that heads of these sizes can be kept in. */
function pairsOf({ lengths }: CacheShape): readonly (readonly [KvFormat, KvFormat])[] {
  return pairs.filter((pair) =>
    pair.every((format, i) => format !== "q8_0" || (lengths[i] as number) % scaleUnit === 0)
  );
}

function resultOf(model: Model, isFull: boolean): Record<string, unknown> {
  const { info } = model;
  const shape = cacheShape(model);
  const metadata = [...model.metadata].map(([key, value]) => [
    key,
    typeof value === "object"
      ? isFull ? value.slice() : {
        type: value.elementType,
        length: value.length,
        first: value.slice(0, Math.min(8, value.length)),
      }
      : value,
  ]);
  return {
    path: info.path,
    bytes: statSync(info.path).size,
    architecture: info.architecture,
    metadata: Object.fromEntries(metadata),
    tensors: model.tensors,
    formats: formatsOf(model),
    kv_cache: shape === undefined
      ? []
      : contextsOf(shape).flatMap((context) =>
        pairsOf(shape).map(([key, value]) => ({
          context,
          key_format: key,
          value_format: value,
          bytes: cacheBytes(shape, key, value, context),
        }))
      ),
  };
}

function printAll(model: Model, isFull: boolean): void {
  const { info } = model;
  print(`${info.path}: ${info.architecture}, ${bytesText(statSync(info.path).size)}\n`);
  print(`\nMetadata (${model.metadata.size})\n`);
  for (const [key, value] of model.metadata) print(`  ${key} = ${valueText(value, isFull)}\n`);
  printTensors(model, isFull);
  const shape = cacheShape(model);
  if (shape === undefined) return;
  print(`\nKV cache by context length, keys/values\n`);
  print(table([
    ["  tokens", ...pairsOf(shape).map(([key, value]) => `${key}/${value}`)],
    ...contextsOf(shape).map((context) => [
      `  ${context}`,
      ...pairsOf(shape).map(([key, value]) => bytesText(cacheBytes(shape, key, value, context))),
    ]),
  ]));
}

function printTensors(model: Model, isFull: boolean): void {
  const { tensors } = model;
  if (tensors.length === 0) return print("\nNo tensors: a vocabulary only\n");
  const formats = formatsOf(model);
  const total = formats.reduce((sum, row) => sum + row.bytes, 0);
  print(`\nFormats\n`);
  print(table([
    ["  format", "tensors", "bytes", "share"],
    ...formats.map(({ format, tensors, bytes }) => [
      `  ${format}`,
      String(tensors),
      bytesText(bytes),
      `${(100 * bytes / total).toFixed(1)} %`,
    ]),
  ]));
  print(`\nTensors (${tensors.length})\n`);
  const shown = isFull ? tensors : tensors.slice(0, 16);
  print(table([
    ["  name", "format", "shape", "bytes"],
    ...shown.map((
      { name, format, shape, bytes },
    ) => [`  ${name}`, format, shape.join(" × "), bytesText(bytes)]),
  ]));
  if (shown.length < tensors.length) {
    print(`  … and ${tensors.length - shown.length} more (--full)\n`);
  }
}

function valueText(value: MetadataValue, isFull: boolean): string {
  if (typeof value === "string") {
    return JSON.stringify(isFull || value.length <= 100 ? value : `${value.slice(0, 97)}…`);
  }
  if (typeof value !== "object") return String(value);
  const few = value.slice(0, isFull ? value.length : Math.min(4, value.length));
  const items = few.map((item) => typeof item === "string" ? JSON.stringify(item) : String(item));
  const rest = few.length < value.length ? ", …" : "";
  return `[${items.join(", ")}${rest}] (${value.length} × ${value.elementType})`;
}
