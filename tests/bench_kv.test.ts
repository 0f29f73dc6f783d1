/** The benchmarks of the KV cache, small, and the verdicts of its study on windows: what they report, and that they run. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type StreamingRow, streamingVerdicts } from "../bench/kv_study/streaming.ts";
import type { Spread } from "../bench/statistics.ts";
import { kvFormats, kvGroupFormats } from "../mod.ts";

const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
const folder = mkdtempSync(join(tmpdir(), "vitrine-bench-kv-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

function run(script: string, args: string): { status: number | null; text: string; error: string } {
  const path = fileURLToPath(new URL(`../bench/${script}.ts`, import.meta.url));
  const done = spawnSync(process.execPath, [...runtimeArguments, path, ...args.split(" ")], {
    encoding: "utf8",
  });
  return { status: done.status, text: done.stdout, error: done.stderr };
}

function isSpread(found: Spread, rounds: number, name: string): void {
  assert.is(found.rounds, rounds, name);
  assert.ok(found.min <= found.median && found.median <= found.max, name);
}

const formats = suite("attention's time by format");

interface FormatRow extends Readonly<Record<"shallow" | "deep" | "alone" | "share", Spread>> {
  readonly format: string;
  readonly bytes: number;
  readonly ofBandwidth: number;
  readonly target?: number;
  readonly holds?: boolean;
  readonly depth?: number;
}

const small =
  `--model tiny --layers 1 --depth 160 --rounds 2 --tokens 2 --threads 1 --folder ${folder}`;

formats("each format is a share of f16, of the bytes that its ledger has", () => {
  const { status, text, error } = run(
    "cache_formats",
    `${small} --formats q8_0,int8_channel,int8_channel:32,f32 --json`,
  );
  assert.is(status, 0, error);
  const { rows, readBytes, ...setting } = JSON.parse(text);
  assert.ok(readBytes > 1e8);
  assert.equal([setting.model, setting.weights, setting.threads], ["tiny", "Q4_0", 1]);
  assert.equal([setting.layers, setting.depth], [1, 160]);
  assert.match(setting.version, /^\d+\.\d+\.\d+/);
  assert.match(setting.cpuVariant, /./);
  const of = (row: FormatRow) => [row.format, row.target];
  const targets = [["f16", 1], ["q8_0", 0.65], ["int8_channel", 0.65], [
    "int8_channel:32",
    0.65,
  ], ["f32", undefined]];
  assert.equal((rows as FormatRow[]).map(of), targets);
  // Two heads of 64 values, keys and values, behind 160 tokens and the first of two. A scale of 16 bits for 32
  // values; and a minimum besides, for 64 or for 32.
  const bits = [16, 8.5, 8.5, 9, 32];
  for (const [i, row] of (rows as FormatRow[]).entries()) {
    for (const part of ["shallow", "deep", "alone", "share"] as const) isSpread(row[part], 2, part);
    assert.ok(row.shallow.min > 0 && row.deep.min > 0);
    assert.ok(Math.abs(row.bytes - 2 * 2 * 64 * bits[i]! / 8 * 161) < 1e-6, `${row.bytes}`);
    const seconds = row.alone.median / 1000;
    assert.ok(Math.abs(row.ofBandwidth * seconds * readBytes / row.bytes - 1) < 1e-9);
    assert.is(row.holds, row.target && row.share.median <= row.target);
  }
  assert.equal(rows[0].share, { median: 1, min: 1, max: 1, rounds: 2 });
});

formats("a file of results keeps the rows of other formats", () => {
  const path = join(folder, "formats.json");
  const found: FormatRow[][] = [];
  for (const format of ["q4_0", "int2"]) {
    const { status, text, error } = run(
      "cache_formats",
      `${small} --formats ${format} --out ${path}`,
    );
    assert.is(status, 0, error);
    for (const cell of ["tiny, 1 layers, depth 160, 1 threads", "of f16", format]) {
      assert.ok(text.includes(cell), cell);
    }
    const { machine, variants } = JSON.parse(readFileSync(path, "utf8"));
    assert.ok(machine.cpus >= 1);
    assert.is(Object.keys(variants).length, 1);
    found.push(Object.values(variants)[0] as FormatRow[]);
  }
  const [first, second] = found as [FormatRow[], FormatRow[]];
  const row = (rows: FormatRow[], format: string) => rows.find((row) => row.format === format)!;
  assert.equal(first.map(({ format }) => format).sort(), ["f16", "q4_0"]);
  assert.equal(second.map(({ format }) => format).sort(), ["f16", "int2", "q4_0"]);
  assert.equal(row(second, "q4_0"), row(first, "q4_0"));
  assert.not.equal(row(second, "f16").deep, row(first, "f16").deep);
  assert.is(row(second, "int2").depth, 160);
  const medians = second.map(({ share }) => share.median);
  assert.equal(medians, medians.toSorted((a, b) => a - b));
});

formats("what cannot be measured is refused", () => {
  for (
    const [args, expected] of [
      ["--formats f17", /Expected formats of f32.*int2:64, but found f17/],
      ["--rounds 0", /Expected whole numbers of at least 1, but found .*, 0,/],
      ["--model llama", /Expected a model and weights of the benchmark, but found llama in Q4_0/],
    ] as const
  ) {
    const { status, error } = run("cache_formats", args);
    assert.is.not(status, 0);
    assert.match(error, expected);
  }
});
formats.run();

const reading = suite("time to read keys");

reading("every format that fits the heads has a row, groups with each option", () => {
  for (const length of [64, 32]) {
    const args = `--tokens 70 --heads 2 --length ${length} --rounds 3 --json`;
    const { status, text, error } = run("kv_read", args);
    assert.is(status, 0, error);
    const { rows, ...setting } = JSON.parse(text);
    assert.equal(setting, { tokens: 70, heads: 2, length, rounds: 3 });
    const grouped = kvGroupFormats.flatMap((format) => {
      // Heads of 32 values have no other.
      const other = format === "int8_channel" ? 32 : 64;
      const groups = length === 64 ? [`, groups of ${other}`] : [];
      return ["", ", symmetric", ...groups, ", 1 % outliers"].map((option) => `${format}${option}`);
    });
    const names = rows.map(({ format }: { format: string }) => format);
    assert.equal(names, [...kvFormats, ...grouped]);
    for (const { format, decoded, unrotated } of rows) {
      isSpread(decoded, 3, format);
      isSpread(unrotated, 3, format);
      assert.ok(decoded.min > 0 && unrotated.min > 0, format);
    }
  }
});

reading("heads of 16 values have no formats with blocks of 32", () => {
  const args = "--tokens 40 --heads 2 --length 16 --rounds 1";
  const { status, text, error } = run("kv_read", args);
  assert.is(status, 0, error);
  assert.match(text, /keys of one layer, 2 heads of 16 values, 40 tokens/);
  assert.match(text, /\bf8_e4m3\b/);
  for (const format of ["q8_0", "int4"]) assert.not.match(text, new RegExp(`\\b${format}\\b`));
});

reading("what cannot be read is refused", () => {
  const odd = run("kv_read", "--heads 1 --length 24");
  assert.is.not(odd.status, 0);
  assert.match(odd.error, /Expected rows of a multiple of 32 values, but found 24/);
  const none = run("kv_read", "--tokens 0");
  assert.is.not(none.status, 0);
  assert.match(none.error, /Expected whole numbers of at least 1, but found 0, 3, 64, 31/);
});
reading.run();

const windows = suite("verdicts on windows with sinks");

/** Rows as a study has them, by sink tokens. */
function rowsOf(perplexities: Readonly<Record<number, number>>): StreamingRow[] {
  const rows = Object.entries(perplexities).map(([sinks, perplexity]) => ({
    ...{ name: `${sinks}+${256 - Number(sinks)}`, perplexity, late: perplexity },
  }));
  // Neither of these has a say.
  const text = { name: "4+252, text", perplexity: 1000, late: 1000 };
  return [{ name: "whole", perplexity: 1, late: 1 }, ...rows, text];
}

const verdictsOf = (perplexities: Readonly<Record<number, number>>) =>
  streamingVerdicts(rowsOf(perplexities)).map(({ holds }) => holds);

windows("each verdict flips by its own measure", () => {
  const published = { 0: 40, 1: 21, 2: 20.5, 4: 20, 8: 19.9 };
  assert.equal(verdictsOf(published), [true, true, true]);
  for (const { text } of streamingVerdicts(rowsOf(published))) assert.match(text, /./);
  // No jump: 1.5 times is not over it.
  assert.equal(verdictsOf({ ...published, 0: 30 }), [false, true, true]);
  assert.equal(verdictsOf({ ...published, 0: 30.01 }), [true, true, true]);
  // The first sink gains 10, the others 10.1.
  assert.equal(verdictsOf({ ...published, 1: 30 }), [true, false, true]);
  assert.equal(verdictsOf({ ...published, 1: 29.9 }), [true, true, true]);
  // Eight gain 2 % and more over four.
  assert.equal(verdictsOf({ ...published, 8: 19.6 }), [true, true, false]);
  assert.equal(verdictsOf({ ...published, 8: 19.62 }), [true, true, true]);
});

windows("a row that is missing is named", () => {
  const { 8: _, ...rest } = { 0: 40, 1: 21, 2: 20.5, 4: 20, 8: 19.9 };
  assert.throws(() => verdictsOf(rest), /Expected a row with 8 sink tokens/);
});
windows.run();
