/**
 * `vitrine inspect`: what a GGUF file holds, and what its KV cache will take.
 *
 * @module
 */

import { statSync } from "node:fs";
import type { MetadataValue, Model, ModelInfo } from "../mod.ts";
import { type Command, commonOptions } from "./command.ts";
import { openModel } from "./model.ts";
import { bytesText, print, printJson, table } from "./output.ts";

const contexts = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072];
const valueBytes = { f32: 4, f16: 2, bf16: 2 } as const;
type CacheFormat = keyof typeof valueBytes;

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

/** Bytes of keys and values for one token: what `Session.kv.bytes` grows by. */
function cacheBytes(
  info: ModelInfo,
  key: CacheFormat,
  value: CacheFormat,
  context: number,
): number {
  const row = info.keyLength * valueBytes[key] + info.valueLength * valueBytes[value];
  return info.layers * info.kvHeads * row * context;
}

/** The context lengths worth a row: up to what the model was trained with, and that itself. */
function contextsOf(info: ModelInfo): number[] {
  const shorter = contexts.filter((context) => context < info.contextTrain);
  return info.contextTrain > 0 ? [...shorter, info.contextTrain] : contexts;
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

const pairs: readonly (readonly [CacheFormat, CacheFormat])[] = [
  ["f32", "f32"],
  ["f16", "f16"],
  ["bf16", "bf16"],
  ["f32", "f16"],
  ["f16", "f32"],
];

function resultOf(model: Model, isFull: boolean): Record<string, unknown> {
  const { info } = model;
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
    kv_cache: hasCache(info)
      ? contextsOf(info).flatMap((context) =>
        pairs.map(([key, value]) => ({
          context,
          key_format: key,
          value_format: value,
          bytes: cacheBytes(info, key, value, context),
        }))
      )
      : [],
  };
}

/** A file with a vocabulary and no layers has no cache. */
function hasCache(info: ModelInfo): boolean {
  return info.layers > 0 && info.kvHeads > 0;
}

function printAll(model: Model, isFull: boolean): void {
  const { info, tensors } = model;
  print(`${info.path}: ${info.architecture}, ${bytesText(statSync(info.path).size)}\n`);
  print(`\nMetadata (${model.metadata.size})\n`);
  for (const [key, value] of model.metadata) print(`  ${key} = ${valueText(value, isFull)}\n`);
  print(`\nFormats\n`);
  const formats = formatsOf(model);
  const total = formats.reduce((sum, row) => sum + row.bytes, 0);
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
  if (!hasCache(info)) return;
  print(`\nKV cache by context length, keys/values\n`);
  print(table([
    ["  tokens", ...pairs.map(([key, value]) => `${key}/${value}`)],
    ...contextsOf(info).map((context) => [
      `  ${context}`,
      ...pairs.map(([key, value]) => bytesText(cacheBytes(info, key, value, context))),
    ]),
  ]));
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
