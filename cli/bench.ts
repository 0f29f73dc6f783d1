/**
 * `vitrine bench`: how fast models run here, beside llama.cpp on the same machine in the same
 * minutes, and what the machine could do at most.
 *
 * @module
 */

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runMatrix } from "../bench/matrix.ts";
import { readResult, writePage } from "../bench/page.ts";
import { cellsOf, columns, figure, machineLines, tableOf } from "../bench/report.ts";
import { type Result, type Workload, workloads } from "../bench/result.ts";
import { type FileFormat, fileFormats, shapes } from "../bench/shapes.ts";
import { measureLimits } from "../mod.ts";
import { cacheFolder } from "../src/store/cache_folder.ts";
import { nearest } from "../src/store/nearest.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { benchModel } from "./bench_model.ts";
import { type Command, commonOptions } from "./command.ts";
import { interruptSignal, loadOptions } from "./model.ts";
import { note, print, printJson, table } from "./output.ts";

/** The command. */
export const bench: Command = {
  name: "bench",
  summary: "measure the speed, beside llama.cpp",
  usage: "MODEL | --limits | --matrix | --report RESULT",
  description: [
    "MODEL: measures reading a prompt (prefill) and generating behind it (decode), in rounds that",
    "alternate with llama.cpp, which is installed on demand. Prints medians with the least and the most.",
    "--limits: measures what the machine can do at most.",
    "--matrix: writes models of real shapes with random weights and measures each in each format, row",
    "by row: the machine's limit, what Vitrine reaches, what llama.cpp reaches. Large files are deleted",
    "afterwards. --report: writes the page and the charts of a result.",
  ],
  options: {
    limits: { help: "measure the machine's bandwidth and arithmetic, and nothing else" },
    matrix: { help: "measure the whole matrix, or what the options below leave of it" },
    report: { value: "RESULT", help: "make a page of a result in JSON; see --page" },
    prompt: { short: "p", value: "N", help: "tokens of the prompt; default: 512" },
    tokens: { short: "n", value: "N", help: "tokens to generate; default: 128" },
    rounds: { short: "r", value: "N", help: "rounds, after one that isn't counted; default: 5" },
    "no-peer": { help: "leave llama.cpp out" },
    peer: {
      value: "native",
      help: "matrix: beside it llama.cpp as llama-cpp-python builds it here, in minutes",
    },
    models: { value: "LIST", help: `matrix: ${Object.keys(shapes).join(",")}` },
    formats: { value: "LIST", help: `matrix: ${Object.keys(fileFormats).join(",")}` },
    only: { value: "LIST", help: `matrix: ${workloads.join(",")}` },
    variants: {
      value: "LIST",
      help: "matrix: CPU variants, forced on both sides; default: best,avx512_vnni,avx2",
    },
    depth: { value: "N", help: "matrix: tokens of a long prompt; default: 4096" },
    seconds: { value: "N", help: "matrix: a row that takes longer gets fewer rounds; default: 60" },
    mebibytes: { value: "N", help: "memory read to measure the bandwidth; default: 1024" },
    folder: {
      value: "PATH",
      help: "matrix: where models are written; default: bench in the cache folder",
    },
    keep: { help: "matrix: keep large models too" },
    out: { value: "PATH", help: "matrix: write the result as JSON after each row" },
    resume: { help: "matrix: go on with the result in --out; what it has isn't measured again" },
    page: { value: "PATH", help: "write the result as a page with charts; default: docs/bench.md" },
    ...loadOptions,
    ...commonOptions,
  },
  positionals: [0, 1],
  run: async (given) => {
    const modes = ["limits", "matrix", "report"].filter((mode) => given.has(mode));
    const [model] = given.positionals;
    if (modes.length + (model === undefined ? 0 : 1) !== 1) {
      const found = [...modes.map((mode) => `--${mode}`), ...given.positionals].join(" ");
      throw new UsageError(
        `Expected one of MODEL, --limits, --matrix and --report, but found ${found || "nothing"}`,
      );
    }
    if (model !== undefined) return await benchModel(model, given);
    if (given.has("limits")) return await limits(given);
    if (given.has("report")) return report(given);
    return await matrix(given);
  },
};

async function limits(given: Arguments): Promise<number> {
  const found = await measureLimits({
    threads: given.integer("threads", 1, 256),
    mebibytes: given.integer("mebibytes", 1, 1 << 20),
  });
  if (given.has("json")) {
    printJson(found);
    return 0;
  }
  const gigabytes = (value: number) => `${figure(value / 1e9)} GB/s`;
  const operations = (value: number) => value === 0 ? "none" : `${figure(value / 1e9)} Gop/s`;
  print(
    `${found.cpuVariant}, ${found.threads} threads, ${found.memoryBytes / 2 ** 20} MiB read\n\n`,
  );
  print(table([
    ["limit", "rate"],
    ["reads", gigabytes(found.readBytes)],
    ["  one stream a thread", gigabytes(found.reads.one)],
    ["  four streams", gigabytes(found.reads.four)],
    ["  four, with prefetches", gigabytes(found.reads.ahead)],
    ["int8 products", operations(found.int8Ops)],
    ["f32 multiply-add", operations(found.f32Ops)],
    ["bf16 dot products", operations(found.bf16Ops)],
  ]));
  return 0;
}

function report(given: Arguments): number {
  const result = readResult(given.text("report") as string);
  const written = writePage(result, given.text("page") ?? join("docs", "bench.md"));
  if (given.has("json")) printJson({ written });
  else print(`wrote ${written.join(", ")}\n`);
  return 0;
}

/** The words of a list, each of which must be known. */
function choices<Name extends string>(
  given: Arguments,
  option: string,
  known: readonly Name[],
): Name[] | undefined {
  const text = given.text(option);
  if (text === undefined) return undefined;
  return text.split(",").map((word) => {
    const found = known.find((name) => name.toLowerCase() === word.trim().toLowerCase());
    if (found !== undefined) return found;
    const near = nearest(word, known);
    throw new UsageError(
      `Expected ${known.join(", ")} after --${option}, but found ${JSON.stringify(word)}` +
        (near === undefined ? "" : `; did you mean ${near}?`),
    );
  });
}

async function matrix(given: Arguments): Promise<number> {
  const asText = !given.has("json");
  const out = given.text("out");
  if (given.has("resume") && out === undefined) {
    throw new UsageError("Expected --out with --resume, but found none");
  }
  const formats = Object.keys(fileFormats) as FileFormat[];
  const plan = {
    models: choices(given, "models", Object.keys(shapes)) ??
      Object.keys(shapes).filter((name) => name !== "tiny"),
    formats: choices(given, "formats", formats) ?? formats,
    only: choices<Workload>(given, "only", workloads),
    variants: given.text("variants")?.split(","),
    threads: given.integer("threads", 1, 256),
    mebibytes: given.integer("mebibytes", 1, 1 << 20),
    rounds: given.integer("rounds", 1, 1000) ?? 5,
    seconds: given.integer("seconds", 1, 86_400) ?? 60,
    sizes: {
      prompt: given.integer("prompt", 1, 1 << 16) ?? 512,
      tokens: given.integer("tokens", 2, 1 << 16) ?? 128,
      depth: given.integer("depth", 16, 1 << 16) ?? 4096,
    },
    peers: [
      ...(given.has("no-peer") ? [] : ["prebuilt" as const]),
      ...(given.has("peer") ? choices(given, "peer", ["native" as const]) ?? [] : []),
    ],
    resume: given.has("resume") && out !== undefined && existsSync(out)
      ? readResult(out)
      : undefined,
    folder: given.text("folder") ?? join(cacheFolder(), "bench"),
    keep: given.has("keep"),
    signal: interruptSignal(),
  };
  const save = (result: Result) => {
    if (out !== undefined) writeFileSync(out, `${JSON.stringify(result, null, 1)}\n`);
  };
  const result = await runMatrix(plan, {
    say: (text) => note(`${text}\n`),
    row: (row, result) => {
      save(result);
      if (asText) note(`  ${cellsOf(row).map((cell, i) => `${columns[i]} ${cell}`).join(" · ")}\n`);
    },
  });
  save(result);
  const page = given.text("page");
  if (page !== undefined) { for (const file of writePage(result, page)) note(`wrote ${file}\n`); }
  if (!asText) {
    printJson(result);
    return 0;
  }
  print(`${machineLines(result).join("\n")}\n\n`);
  print(table(tableOf(result)));
  return 0;
}
