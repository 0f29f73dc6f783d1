/**
 * `vitrine kv MODEL compare`: what narrower caches cost.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import {
  compareKv,
  type KvCandidate,
  type KvComparison,
  type KvFormat,
  kvFormats,
  type KvPolicy,
  type Model,
} from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { scatter } from "../src/internal/chart.ts";
import type { KvAction } from "./kv.ts";
import { textOf, withTokens } from "./kv_source.ts";
import { formatNames, readPolicy } from "./model.ts";
import { figure, note, print, printJson, ProgressBar, snakeCase, table } from "./output.ts";

type LayerErrors = KvCandidate["layers"][number];

/** A cache, and what it is called in tables. */
export interface Named {
  readonly name: string;
  readonly policy: KvPolicy;
}

/** The action. */
export const compareAction: KvAction = {
  options: ["formats", "reference", "layers", "ctx"],
  prepare: (ref, given) => {
    const caches = cachesOf(given);
    const text = textOf(given);
    return (signal) =>
      withTokens(
        ref,
        text,
        given,
        signal,
        (model, tokens) => compare(model, tokens, caches, given, signal),
      );
  },
};

/** The reference and the candidates that the options name. */
function cachesOf(given: Arguments): { reference: Named; candidates: Named[] } {
  const reference = cacheOf(given.text("reference") ?? "f32", "reference");
  const list = given.text("formats");
  const { key, value } = reference.policy;
  const candidates = list === undefined
    ? kvFormats.filter((format) => format !== key || format !== value)
      .map((format) => cacheOf(format, "formats"))
    : list.split(",").map((word) => cacheOf(word, "formats"));
  return { reference, candidates };
}

/** The cache that a word after an option names. */
export function cacheOf(text: string, option: string): Named {
  if (text.endsWith(".json")) return { name: basename(text, ".json"), policy: readPolicy(text) };
  const words = text.split("/");
  const [key, value] = [words[0], words[1] ?? words[0]].map((word) => {
    const format = formatNames.find((name) => name === word);
    if (format !== undefined && words.length <= 2) return format;
    throw new UsageError(
      `Expected KEY or KEY/VALUE of ${
        formatNames.join(", ")
      }, or a policy in a .json file, after ` +
        `--${option}, but found "${text}"`,
    );
  }) as [KvFormat, KvFormat];
  return { name: `${key}/${value}`, policy: { key, value } };
}

/** Reads the text with all caches and prints how far they are from the reference. */
async function compare(
  model: Model,
  tokens: Uint32Array,
  { reference, candidates }: { reference: Named; candidates: Named[] },
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const bar = new ProgressBar((value) => `${value} tokens`);
  let found;
  try {
    found = await compareKv(model, tokens, {
      reference: reference.policy,
      candidates: candidates.map(({ policy }) => policy),
      context: given.integer("ctx", 2, 1 << 20),
      signal,
      onProgress: ({ done, total }) => bar.show("comparing", done, total),
    });
  } finally {
    bar.end();
  }
  const svg = given.text("svg");
  if (svg !== undefined) {
    writeFileSync(svg, chartOf(found, reference, candidates, model.info.architecture));
  }
  if (given.has("json")) {
    printJson({
      ...snakeCase(found),
      reference: snakeCase(found.reference),
      candidates: found.candidates.map((row) => ({
        ...snakeCase(row),
        layers: row.layers.map(snakeCase),
      })),
    });
    return;
  }
  const names = candidates.map(({ name }) => name);
  const last = (row: { tokensPerSecond: number }) => figure(row.tokensPerSecond);
  print(table([
    ["keys/values", "bits", "mean KL", "99 %", "most", "same top", "perplexity", "tok/s"],
    [
      ...[reference.name, figure(found.reference.bitsPerValue), "", "", "", ""],
      ...[found.reference.perplexity.toFixed(3), last(found.reference)],
    ],
    ...found.candidates.map((row, i) => [
      ...[names[i] as string, figure(row.bitsPerValue)],
      ...[row.kl.mean, row.kl.p99, row.kl.max].map((kl) => kl.toExponential(2)),
      `${(100 * row.sameTop).toFixed(2)} %`,
      row.perplexity.toFixed(3),
      last(row),
    ]),
  ]));
  if (given.has("layers")) {
    print("\nerror of keys/values/attention by layer, relative\n");
    print(table([
      ["layer", ...names],
      ...Array.from({ length: model.info.layers }, (_, layer) => [
        String(layer),
        ...found.candidates.map((row) => {
          const { keyError, valueError, attentionError } = row.layers[layer] as LayerErrors;
          return [keyError, valueError, attentionError].map((error) => error.toExponential(1))
            .join("/");
        }),
      ]),
    ]));
  }
  note(
    `${found.tokens} tokens in pieces of ${found.context}; speed at depth ${found.reference.depth}\n`,
  );
}

function chartOf(
  found: KvComparison,
  reference: Named,
  candidates: readonly Named[],
  architecture: string,
): string {
  return scatter({
    title: `KV cache of ${architecture}: KL divergence from ${reference.name}`,
    x: "bits per value, scales included",
    y: "mean KL divergence, nats a token",
    sets: [
      { name: "", points: [] },
      {
        name: "",
        points: found.candidates.map((row, i) => ({
          ...{ x: row.bitsPerValue, y: row.kl.mean, label: shortName(candidates[i] as Named) },
        })),
      },
    ],
  });
}

/** One format where keys and values have the same. */
function shortName({ name }: Named): string {
  const [key, value] = name.split("/");
  return key === value ? key as string : name;
}
