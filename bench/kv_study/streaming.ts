/**
 * StreamingLLM's jump without sink tokens: perplexity over a long text with a window of the last tokens,
 * and with the first four beside it. Xiao et al. 2023, table 1, Llama-2-13B over 65,000 tokens of PG19: 5158
 * with 0+1024 tokens, 5.40 with 4+1020, 5.43 when every window is computed anew.
 *
 * usage: bun run bench/kv_study/streaming.ts [MODEL …] [--cache TOKENS] [--every TOKENS] [--file TEXT …]
 *        deno run -A bench/kv_study/streaming.ts …
 *
 * Without a file it reads the texts of the benchmark and what this repository says in prose.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { print } from "../../cli/output.ts";
import { type EvictPolicy, loadModel, type Model, slidingWindow } from "../../mod.ts";
import type { Verdict } from "./result.ts";

/** What a cache costs in perplexity. */
export interface StreamingRow {
  readonly name: string;
  /** Over all tokens behind those that every cache still holds whole. */
  readonly perplexity: number;
  /** Of the last quarter of them. */
  readonly late: number;
}

/** How it is measured. */
export interface StreamingOptions {
  /** Tokens that a cache keeps. */
  readonly cache: number;
  /** How many come before as many are evicted. */
  readonly every: number;
}

/** Reads the tokens with a whole cache, and with windows of `cache` tokens, all at once. */
export async function measureStreaming(
  model: Model,
  tokens: Uint32Array,
  { cache, every }: StreamingOptions,
): Promise<StreamingRow[]> {
  const from = cache + every;
  if (tokens.length < 2 * from) {
    throw new RangeError(
      `Expected a text of at least ${2 * from} tokens, but found ${tokens.length}`,
    );
  }
  const variants: (readonly [string, EvictPolicy | undefined])[] = [
    ["whole", undefined],
    ...[0, 1, 2, 4, 8].map((sinks): [string, EvictPolicy] => [
      `${sinks}+${cache - sinks}`,
      slidingWindow({ sinks, recent: cache - sinks, every }),
    ]),
    [`4+${cache - 4}, text`, slidingWindow({ recent: cache - 4, every, positions: "text" })],
  ];
  return await Promise.all(variants.map(async ([name, evict]) => {
    using session = model.session({ ...(evict ? { evict } : { context: tokens.length }) });
    const logprobs = await session.score(tokens);
    const perplexityFrom = (first: number) => {
      const measured = logprobs.subarray(first);
      return Math.exp(-measured.reduce((sum, logprob) => sum + logprob, 0) / measured.length);
    };
    const late = from + Math.floor((tokens.length - from) * 3 / 4);
    return { name, perplexity: perplexityFrom(from), late: perplexityFrom(late) };
  }));
}

/** What was published about such rows, and whether it is so here. */
export function streamingVerdicts(rows: readonly StreamingRow[]): Verdict[] {
  const of = (sinks: number) => {
    const row = rows.find(({ name }) => name.startsWith(`${sinks}+`));
    if (row === undefined) throw new Error(`Expected a row with ${sinks} sink tokens`);
    return row.perplexity;
  };
  return [
    {
      text: "without sink tokens perplexity jumps, to over 1.5 times that with four",
      holds: of(0) > 1.5 * of(4),
    },
    { text: "the first sink token gains most", holds: of(0) - of(1) > of(1) - of(8) },
    { text: "eight gain less than 2 % over four", holds: of(4) / of(8) < 1.02 },
  ];
}

/** The texts of the benchmark, and the prose of pages without their code and tables. */
function ownText(): string {
  const files = ["bench/texts/lighthouse.txt", "bench/texts/openings.txt"];
  const pages = ["README.md", "docs/samplers.md", "docs/snapshot.md", "docs/tape.md"];
  const read = (path: string) =>
    readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");
  const prose = pages.map((path) =>
    read(path).replace(/^```[\s\S]*?^```/gm, "").split("\n")
      .filter((line) => !/^\s*[|<!#]/.test(line)).join("\n").replace(/\n{3,}/g, "\n\n")
  );
  return [...files.map(read), ...prose].join("\n\n");
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    args: process.argv.slice(2),
    allowPositionals: true,
    options: {
      cache: { type: "string", default: "256" },
      every: { type: "string", default: "1" },
      file: { type: "string", multiple: true },
    },
  });
  const text = values.file?.map((path) => readFileSync(path, "utf8")).join("\n\n") ?? ownText();
  for (const name of positionals.length > 0 ? positionals : ["smollm2"]) {
    using model = await loadModel(name);
    const tokens = model.tokenize(text, { parseSpecial: false });
    const options = { cache: Number(values.cache), every: Number(values.every) };
    const rows = await measureStreaming(model, tokens, options);
    print(`${name}, ${tokens.length} tokens, perplexity behind token ${options.cache}\n\n`);
    print("| tokens in the cache | perplexity | last quarter |\n|---|---:|---:|\n");
    for (const { name, perplexity, late } of rows) {
      print(`| ${name} | ${perplexity.toFixed(2)} | ${late.toFixed(2)} |\n`);
    }
    print("\n");
  }
}

if (import.meta.main) await main();
