/**
 * A study of KV-cache precision: published findings in small, on the models that everybody can load.
 *
 * usage: bun run bench/kv_study.ts [MODEL …] [--file TEXT] [--page PAGE.md] [--json FILE] [--only ID,…]
 *        deno run -A bench/kv_study.ts …
 *
 * Without models it takes smollm2 and gemma3-270m, and prints the tables. `--page` writes them with
 * charts, `--json` all figures; `--only` picks experiments by their names.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compareKv, kvLevels, type KvScheme, loadModel, type Model } from "../mod.ts";
import { note, print, ProgressBar } from "../cli/output.ts";
import {
  experiments,
  type Found,
  layerVariants,
  type Levels,
  type Variant,
} from "./kv_study/experiments.ts";
import { pageOf, tablesOf, writeCharts } from "./kv_study/page.ts";
import type { LayerCost, ModelStudy, StudiedStreaming, Study } from "./kv_study/result.ts";
import { measureStreaming, streamingVerdicts } from "./kv_study/streaming.ts";

/** Caches that read the text together. */
const groupSize = 8;
/** Tokens of a piece of the text. */
const context = 1024;
/** Tokens that the caches of StreamingLLM's experiment keep. */
const streamingCache = 256;
/** The part of the text that levels are fitted to, and that is not measured. */
const fittingShare = 1 / 4;

const { values: options, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    file: { type: "string" },
    page: { type: "string" },
    json: { type: "string" },
    only: { type: "string" },
  },
});
const file = options.file ?? fileURLToPath(new URL("./texts/lighthouse.txt", import.meta.url));
const text = readFileSync(file, "utf8");
const only = options.only?.split(",");
const study: Study = { models: [] };
for (const name of positionals.length > 0 ? positionals : ["smollm2", "gemma3-270m"]) {
  using model = await loadModel(name, { precision: "float" });
  study.models.push(await studyModel(model, name));
}
print(tablesOf(study));
if (options.json !== undefined) {
  writeFileSync(options.json, `${JSON.stringify(study, null, 1)}\n`);
  note(`wrote ${options.json}\n`);
}
if (options.page !== undefined) {
  const charts = writeCharts(study, options.page);
  writeFileSync(options.page, pageOf(study, charts));
  note(`wrote ${options.page} and ${charts.length} charts\n`);
}

async function studyModel(model: Model, name: string): Promise<ModelStudy> {
  const { layers, kvHeads, keyLength } = model.info;
  if (keyLength % 64 !== 0 || (keyLength & (keyLength - 1)) !== 0) {
    throw new RangeError(
      `Expected heads of a power of two of values, at least 64, but found ${keyLength} in ${name}`,
    );
  }
  const tokens = model.tokenize(text, { parseSpecial: false });
  const border = Math.floor(tokens.length * fittingShare);
  const levels = await fitLevels(model, tokens.slice(0, border));
  const measured = tokens.slice(border);
  const wanted = experiments(keyLength, levels).filter(({ id }) => only?.includes(id) ?? true);
  const found = [];
  let perplexity = NaN;
  for (const { id, title, about, variants, claims } of wanted) {
    const rows = await measure(model, measured, variants, `${name} ${id}`);
    perplexity = rows.reference;
    const kl = (wantedName: string) => {
      const row = rows.found.find((one) => one.name === wantedName);
      if (row === undefined) throw new Error(`Expected a variant, but found "${wantedName}"`);
      return row.kl.mean;
    };
    const verdicts = claims.map((claim) => ({ text: claim.text, holds: claim.holds(kl) }));
    found.push({ id, title, about, rows: rows.found, verdicts });
  }
  const costs: LayerCost[] = [];
  if (only?.includes("layers") ?? true) {
    const rows = await measure(model, measured, layerVariants(layers), `${name} layers`);
    for (const row of rows.found) {
      const [which, layer] = row.name.split(" ") as ["key" | "value", string];
      costs.push({ which, layer: Number(layer), kl: row.kl.mean });
    }
  }
  return {
    name,
    shape: { layers, heads: kvHeads, length: keyLength },
    tokens: measured.length,
    context: Math.min(context, measured.length),
    perplexity,
    experiments: found,
    layers: costs,
    streaming: only?.includes("streaming") ?? true ? await stream(model, tokens) : undefined,
  };
}

/** Reads the whole text through windows. */
async function stream(model: Model, tokens: Uint32Array): Promise<StudiedStreaming> {
  const rows = await measureStreaming(model, tokens, { cache: streamingCache, every: 1 });
  const verdicts = streamingVerdicts(rows);
  return { tokens: tokens.length, cache: streamingCache, rows, verdicts };
}

/** Finds levels for keys before their rotation, per channel, and for values per token, at three bits. */
async function fitLevels(model: Model, tokens: Uint32Array): Promise<Levels> {
  using session = model.session({ context: tokens.length, kv: { key: "f32", value: "f32" } });
  await session.prefill(tokens);
  const fit = (which: "key" | "value", scheme: KvScheme) => {
    const samples = Array.from({ length: model.info.layers }, (_, layer) => layer).flatMap((
      layer,
    ) =>
      Array.from({ length: model.info.kvHeads }, (_, head) => {
        const view = which === "key" ? "unrotated" as const : "decoded" as const;
        const values = session.kv.read({ which, layer, head, view });
        return { values, length: values.length / session.position };
      })
    );
    return kvLevels(samples, scheme);
  };
  return {
    key: fit("key", { bits: 3, axis: "channel", group: 64, beforeRope: true }),
    value: fit("value", { bits: 3, group: 64 }),
  };
}

/** Reads the text with all variants, some at a time. */
async function measure(
  model: Model,
  tokens: Uint32Array,
  variants: readonly Variant[],
  label: string,
): Promise<{ reference: number; found: Found[] }> {
  const bar = new ProgressBar((value) => `${value} tokens`);
  const found: Found[] = [];
  let reference = NaN;
  for (let from = 0; from < variants.length; from += groupSize) {
    const some = variants.slice(from, from + groupSize);
    const result = await compareKv(model, tokens, {
      reference: { key: "f32", value: "f32" },
      candidates: some.map(({ cache }) => cache),
      ...{ context, speedTokens: 0 },
      onProgress: ({ done, total }) =>
        bar.show(
          label,
          (done * some.length + from * total) / variants.length,
          total,
        ),
    });
    reference = result.reference.perplexity;
    for (
      const [i, { bitsPerValue: bits, kl, sameTop, perplexity }] of result.candidates.entries()
    ) {
      found.push({ name: (some[i] as Variant).name, bits, kl, sameTop, perplexity });
    }
  }
  bar.end();
  return { reference, found };
}
