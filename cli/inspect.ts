/**
 * `vitrine inspect`: what a GGUF file holds, and what its KV cache will take.
 *
 * @module
 */

import { statSync } from "node:fs";
import type { KvFormat, MetadataValue, Model } from "../mod.ts";
import {
  cacheBytes,
  type CacheShape,
  cacheShape,
  fitsFormat,
} from "../src/internal/cache_shape.ts";
import { type Command, commonOptions } from "./command.ts";
import { openModel } from "./model.ts";
import { bytesText, print, printJson, table } from "./output.ts";

const contexts = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072];
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
  ["q4_0", "q4_0"],
  ["f32", "f16"],
  ["f16", "f32"],
  ["q8_0", "f16"],
];

/** The pairs of formats that heads of these sizes can be kept in. */
function pairsOf(shape: CacheShape): readonly (readonly [KvFormat, KvFormat])[] {
  return pairs.filter(([key, value]) =>
    fitsFormat(shape.keyLength, key) && fitsFormat(shape.valueLength, value)
  );
}

function resultOf(model: Model, isFull: boolean): Record<string, unknown> {
  const { info } = model;
  const shape = cacheShape(model.metadata);
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
  const shape = cacheShape(model.metadata);
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
