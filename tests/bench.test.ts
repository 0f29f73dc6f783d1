/**
 * The benchmark: generated models load and run, figures and tables are made right, and the whole
 * matrix runs on a tiny model without any peer.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { rates as rateChart, roofline } from "../bench/chart.ts";
import { isPossible } from "../bench/choose.ts";
import type { Driver } from "../bench/driver.ts";
import { generateModel, makePool, Random, toHalf, vocabularyOf } from "../bench/generate.ts";
import { availableMemory, describeMachine, readSensors, wattsBetween } from "../bench/machine.ts";
import { readResult, writePage } from "../bench/page.ts";
import { Pair } from "../bench/pair.ts";
import { besidePublished } from "../bench/published.ts";
import { cellsOf, columns, pageOf, tableOf, targetText } from "../bench/report.ts";
import {
  type FoundSetting,
  holds,
  ratioOf,
  type Result,
  type Row,
  shareOf,
} from "../bench/result.ts";
import { arithmeticOf, limitOf, rateOver } from "../bench/roofline.ts";
import {
  type FileFormat,
  fileFormats,
  type Shape,
  shapes,
  tensorBytes,
  tensorsOf,
  usesMoreBits,
  workOf,
} from "../bench/shapes.ts";
import { rates, sameInAll, spread } from "../bench/statistics.ts";
import { decodeTarget, depthTarget, prefillTarget } from "../bench/targets.ts";
import { loadModel, type MachineLimits } from "../mod.ts";

const folder = mkdtempSync(join(tmpdir(), "vitrine-bench-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const formats = Object.keys(fileFormats) as FileFormat[];
const tiny = shapes["tiny"] as Shape;

function vitrine(args: string[]): { status: number | null; stdout: string; stderr: string } {
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  return spawnSync(process.execPath, [...runtime, main, ...args], { encoding: "utf8" });
}

const statistics = suite("statistics");

statistics("medians, least and most", () => {
  assert.equal(spread([3, 1, 2]), { median: 2, min: 1, max: 3, rounds: 3 });
  assert.equal(spread([4, 1, 2, 3]), { median: 2.5, min: 1, max: 4, rounds: 4 });
  assert.equal(rates([500, 250], 100), { median: 300, min: 200, max: 400, rounds: 2 });
  assert.throws(() => spread([]), /at least one round/);
  assert.is(sameInAll([7, 7], "x"), 7);
  assert.throws(() => sameInAll([7, 8], "the same tokens"), /the same tokens in each round.*2/);
});

statistics("the machine is described as far as the system tells", () => {
  const machine = describeMachine();
  assert.ok(machine.cpus >= 1 && machine.memoryBytes > 0 && machine.cpu.length > 0);
  assert.ok(availableMemory() > 0);
  const sensors = readSensors();
  assert.is(sensors.joules !== undefined, machine.power);
  assert.is(sensors.celsius !== undefined, machine.temperature);
  const look = (at: number, joules: number | undefined) => ({ at, joules, celsius: undefined });
  assert.is(wattsBetween(look(0, 1), look(2000, 21)), 10);
  assert.is(wattsBetween(look(0, undefined), look(1, 2)), undefined);
  assert.is(wattsBetween(look(0, 5), look(1000, 1)), undefined);
});
statistics.run();

const rounds = suite("rounds");

rounds("the first is left out, unless it alone took as long as the row may", async () => {
  const driver = () =>
    Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() } as unknown as Driver);
  const measure = async (seconds: number) => {
    const { signal } = new AbortController();
    let looked = 0;
    const look = () => ({ ...limits, readBytes: looked++ });
    await using pair = new Pair(driver, true, { rounds: 2, seconds, signal, look });
    await pair.usePeer(() => driver());
    let count = 0;
    const prepare = () => Promise.resolve();
    return await pair.measure({ prepare, round: () => Promise.resolve([count++]) });
  };
  const around = (looks: MachineLimits[][]) =>
    looks.map((pair) => pair.map(({ readBytes }) => readBytes));
  const { ours, peer, looks } = await measure(1000);
  assert.equal([ours, peer, around(looks)], [[[2], [4]], [[3], [5]], [[1, 2], [2, 3]]]);
  const short = await measure(0);
  assert.equal([short.ours, short.peer, around(short.looks)], [[[0]], [[1]], [[0, 1]]]);
});
rounds.run();

const models = suite("generated models");

models("the mixes follow the quantiser", () => {
  // Of 22 layers: the first two, the last three, and every third between.
  const more = Array.from({ length: 22 }, (_, i) => i).filter((i) => usesMoreBits(i, 22));
  assert.equal(more, [0, 1, 4, 7, 10, 13, 16, 19, 20, 21]);
  const shape = shapes["tinyllama-1.1b"] as Shape;
  const find = (format: FileFormat, name: string) =>
    tensorsOf(shape, format).find((tensor) => tensor.name === `${name}.weight`)?.format;
  assert.is(find("Q4_K_M", "blk.0.ffn_down"), "Q6_K");
  assert.is(find("Q4_K_M", "blk.2.ffn_down"), "Q4_K");
  assert.is(find("Q5_K_M", "blk.4.attn_v"), "Q6_K");
  assert.is(find("Q5_K_M", "token_embd"), "Q5_K");
  assert.is(find("Q4_0", "output"), "Q6_K");
  assert.is(find("Q8_0", "output"), "Q8_0");
  assert.is(find("F16", "blk.0.attn_norm"), "F32");
  const large = tensorsOf(shapes["llama-2-70b"] as Shape, "Q4_K_M");
  assert.is(large.find((tensor) => tensor.name === "blk.11.attn_v.weight")?.format, "Q5_K");
});

models("work is counted on the tensors", () => {
  const shape = shapes["tinyllama-1.1b"] as Shape;
  const work = workOf(shape, "Q8_0");
  const parameters = 22 * (2 * 2048 * 2048 + 2 * 256 * 2048 + 3 * 2048 * 5632);
  assert.is(work.layerOps, 2 * parameters);
  assert.is(work.outputOps, 2 * 32000 * 2048);
  assert.is(work.cacheValues, 2 * 22 * 4 * 64);
  const embedding = tensorBytes({ name: "e", shape: [2048, 32000], format: "Q8_0" });
  assert.is(work.fileBytes - work.tokenBytes, embedding);
  assert.is(embedding, 2048 * 32000 / 32 * 34);
});

models("16-bit floats are rounded to the nearest", () => {
  const known: [number, number][] = [
    [0, 0],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [1 / 3, 0x3555],
    [-1.5e-5, 0x80fc],
  ];
  for (const [value, bits] of known) assert.is(toHalf(value), bits, String(value));
});

models("pools have the mean and the variance of a trained layer", async () => {
  const columns = 256;
  for (const format of formats) {
    const path = join(folder, `pool-${format}.gguf`);
    generateModel(path, "tiny", tiny, format);
    using model = await loadModel(path);
    const tensor = model.tensors.find((tensor) => tensor.name === "blk.0.attn_q.weight");
    assert.is(tensor?.format.toLowerCase(), fileFormats[format].base.toLowerCase());
  }
  // Decoded by hand: the simplest format stands for the arithmetic of the others.
  const pool = makePool("Q8_0", columns, new Random(3));
  const view = new DataView(pool.buffer);
  let sum = 0;
  let squares = 0;
  let count = 0;
  for (let at = 0; at + 34 <= pool.length; at += 34) {
    assert.is(view.getUint16(at, true), toHalf(1 / Math.sqrt(columns) / 73.6));
    for (let i = 2; i < 34; i++) {
      const value = view.getInt8(at + i) / Math.sqrt(columns) / 73.6;
      sum += value;
      squares += value * value;
      count++;
    }
  }
  assert.ok(Math.abs(sum / count) < 0.01);
  assert.ok(Math.abs(squares / count * columns - 1) < 0.1);
});

models("each format loads, runs, and keeps its logits small", async () => {
  for (const format of formats) {
    const path = join(folder, `run-${format}.gguf`);
    const bytes = generateModel(path, "tiny", tiny, format);
    assert.is(readFileSync(path).length, bytes);
    using model = await loadModel(path, { threads: 1 });
    assert.is(model.info.vocabulary, tiny.vocabulary);
    assert.is(model.info.layers, tiny.layers);
    using session = model.session({ context: 64 });
    await session.prefill([1, 5, 900, 17]);
    const logits = session.logits();
    const largest = logits.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    assert.ok(largest > 0.01 && largest < 50, `${format}: ${largest}`);
    assert.is(model.detokenize(model.tokenize("abc xyz", { addSpecial: false })), "abc xyz");
  }
});

models("the same seed gives the same bytes, another one others", () => {
  const made = [1, 1, 2].map((seed, i) => {
    const path = join(folder, `seed-${i}.gguf`);
    generateModel(path, "tiny", tiny, "Q4_K_M", seed);
    return readFileSync(path);
  });
  assert.is(made[0]?.equals(made[1] as Uint8Array), true);
  assert.is(made[0]?.equals(made[2] as Uint8Array), false);
  const { tokens, types } = vocabularyOf(32000);
  assert.is(new Set(tokens).size, 32000);
  assert.is(types.length, 32000);
});
models.run();

/** A result with one row of each kind. */
const limits = {
  ...{ cpuVariant: "avx2", threads: 2, memoryBytes: 2 ** 30, readBytes: 40e9 },
  ...{ reads: { one: 30e9, four: 38e9, ahead: 40e9 }, int8Ops: 400e9, f32Ops: 200e9, bf16Ops: 0 },
};
const decodeRow: Row = {
  ...{ workload: "decode", title: "decode 128", model: "tinyllama-1.1b", format: "Q4_0" },
  ...{ variant: "avx2", unit: "tok/s", bytesPerToken: 0.6e9 },
  ours: { median: 60, min: 58, max: 61, rounds: 5 },
  peer: { name: "peer", value: { median: 40, min: 39, max: 41, rounds: 5 }, setting: "as it is" },
  limit: { value: 66, of: "read bandwidth" },
  target: { share: 0.85, ratio: 1.2 },
  details: { hash: 0xabc, watts: 12.5 },
};
const memoryRow: Row = {
  ...{ workload: "memory", title: "memory", unit: "%", target: { most: 110, ratio: 1 } },
  ours: { median: 104, min: 104, max: 104, rounds: 1 },
  peer: { name: "peer", value: { median: 198, min: 198, max: 198, rounds: 1 } },
};
const skippedRow: Row = {
  ...{ workload: "decode", title: "decode", model: "llama-2-70b", format: "F16", unit: "tok/s" },
  skipped: "needs 159.7 GB of memory, found 20.0 GB",
};
const result: Result = {
  ...{ version: 1, when: "2026-01-02T03:04:05.678Z", engine: "0.1.0", threads: 2 },
  machine: {
    ...{ cpu: "A <processor>", cpus: 4, memoryBytes: 2 ** 35, caches: ["L1d 48K"], virtual: true },
    ...{ system: "linux 6", power: false, temperature: true },
  },
  limits: { avx2: limits },
  rows: [decodeRow, memoryRow, skippedRow],
};

const reports = suite("reports");

reports("shares, ratios and verdicts", () => {
  assert.is(shareOf(decodeRow, 33), 0.5);
  assert.is(ratioOf(decodeRow), 1.5);
  assert.is(holds(decodeRow), true);
  assert.is(holds({ ...decodeRow, target: { share: 0.95 } }), false);
  assert.is(holds({ ...decodeRow, target: { ratio: 1.6 } }), false);
  // In percent and time less is better.
  assert.is(ratioOf(memoryRow), 198 / 104);
  assert.is(holds(memoryRow), true);
  assert.is(holds({ ...memoryRow, target: { most: 100 } }), false);
  assert.is(holds({ ...memoryRow, target: { ratio: 2 } }), false);
  assert.is(holds(skippedRow), undefined);
  assert.equal(decodeTarget(2e9, 100, 90), { share: 0.9, ratio: 0.92 * 100 / 90 });
  assert.equal(decodeTarget(5e8, 100, undefined), { share: 0.85 });
  assert.equal(prefillTarget("avx512_vnni", "Q4_K_M"), { share: 0.65, ratio: 2.8 });
  assert.equal(prefillTarget("amx", "Q4_0"), { ratio: 1.8 });
  assert.is(prefillTarget("avx512", "Q4_0"), undefined);
  assert.equal(depthTarget("q8_0"), { share: 0.8, ratio: 5 });
});

reports("the share of a row is the median of its rounds' shares", () => {
  const at = (gigabytes: number) => ({ ...limits, readBytes: gigabytes * 1e9, int8Ops: 5e9 });
  assert.is(rateOver("read bandwidth", [at(20), at(60)]), 30e9);
  assert.is(rateOver("int8 peak", [at(20), at(60)]), 5e9);
  assert.throws(() => rateOver("f32 peak", []), /at least one look/);
  assert.is(arithmeticOf("F16"), "f32 peak");
  assert.is(arithmeticOf("Q6_K"), "int8 peak");
  // Limits of 30, 15 and 30 tokens a second, of which 90, 80 and 70 % were reached.
  const looks = [[at(20), at(60)], [at(15), at(15)], [at(30), at(30)]];
  const share = (unit: "tok/s" | "ms", figures: number[]) => {
    const limit = limitOf("read bandwidth", 1e9, unit, figures, looks);
    assert.is(limit.of, "read bandwidth");
    return Math.round(shareOf({ ...decodeRow, unit, limit }, spread(figures).median)! * 1000);
  };
  assert.is(share("tok/s", [27, 12, 21]), 800);
  assert.is(share("ms", [1000 / 27, 1000 / 12, 1000 / 21]), 800);
});

reports("cells say what the row says", () => {
  assert.equal(cellsOf(decodeRow), [
    ...["decode 128", "tinyllama-1.1b Q4_0 avx2", "tok/s", "66.0 (read bandwidth)"],
    ...["60.0 (58.0–61.0)", "91 %", "40.0 (39.0–41.0)", "61 %", "1.50×", "≥ 85 %, ≥ 1.2×", "yes"],
  ]);
  assert.match(cellsOf(skippedRow).join(), /skipped: needs 159\.7 GB of memory, found 20\.0 GB/);
  assert.is(targetText(memoryRow), "less than the peer, ≤ 110 %");
  assert.equal(tableOf(result)[0], [...columns]);
});

reports("a page has the machine, the rows and charts that are whole", () => {
  const page = join(folder, "page.md");
  const written = writePage(result, page);
  assert.ok(written.every((file) => existsSync(file)));
  const text = readFileSync(page, "utf8");
  for (
    const part of [
      "2026-01-02",
      "A <processor> (virtual)",
      "power not told",
      "2 of 2 rows",
      "| decode 128 |",
      "36.0 GB/s",
      "tokens 00000abc",
      "skipped: needs",
      "](page/roofline.svg)",
    ]
  ) assert.ok(text.includes(part), part);
  for (const svg of [roofline(result), rateChart(result, "a < b", () => true)]) {
    assert.match(svg, /^<svg [^>]*>\n[^]*<\/svg>\n$/);
    assert.not.match(svg, /NaN|undefined|Infinity/);
    assert.is(svg.match(/<text /g)?.length, svg.match(/<\/text>/g)?.length);
  }
  assert.match(rateChart(result, "a < b", () => true), /a &lt; b/);
  assert.is(roofline(result), roofline(structuredClone(result)));
});

reports("a page tells which settings of the peer were tried", () => {
  const half = { repack: false, flash: true };
  const found: FoundSetting = {
    ...{ model: "tinyllama-1.1b", prefill: { repack: true, flash: true }, decode: half },
    tried: ["repack true, flash true: 110.0, 16.0", "repack false, flash true: 80.0, 17.0"],
  };
  const text = pageOf({ ...result, settings: { "a peer, Q4_0, avx2": found } }, []);
  assert.match(text, /\| a peer, Q4_0, avx2 \| tinyllama-1\.1b \| repack true, .*; repack false, /);
  assert.not.match(pageOf(result, []), /Settings of the peer/);
  assert.is(isPossible(found, [true, false]), true);
  assert.is(isPossible(found, [false]), false);
});

reports("a published rate is told as the share of its machine's limit", () => {
  const row: Row = {
    ...{ workload: "prefill", title: "prefill 512", unit: "tok/s", variant: "avx512_vnni" },
    ...{ model: "tinyllama-1.1b", format: "Q4_0", opsPerToken: 1.94e9 },
    ours: spread([500]),
    limit: { value: 1000, of: "int8 peak" },
  };
  const [found] = besidePublished({ ...result, rows: [row, { ...row, variant: "avx2" }] });
  assert.is(found?.share, 331 * 1.94e9 / 1364e9);
  assert.is(found?.ours, 0.5);
  assert.is(besidePublished({ ...result, rows: [{ ...row, variant: "avx2" }] }).length, 0);
  assert.match(
    pageOf({ ...result, rows: [row] }, []),
    /ik_llama\.cpp .* 331 \| 47 % \| 50 % \| 1\.06×/,
  );
});

reports("a result that isn't one is refused", () => {
  const path = join(folder, "wrong.json");
  writeFileSync(path, JSON.stringify({ version: 2 }));
  assert.throws(() => readResult(path), /Expected a result of the benchmark/);
  writeFileSync(path, JSON.stringify(result));
  assert.equal(readResult(path), JSON.parse(JSON.stringify(result)));
});
reports.run();

const command = suite("the command");

command("refuses what doesn't fit", () => {
  const refusals: [string[], RegExp][] = [
    [[], /Expected one of MODEL, --limits, --matrix and --report, but found nothing/],
    [["--limits", "--matrix"], /but found --limits --matrix/],
    [["--matrix", "--models", "tinylama-1.1b"], /did you mean tinyllama-1\.1b\?/],
    [["--matrix", "--formats", "Q9"], /Expected Q4_0, .* after --formats, but found "Q9"/],
    [["--matrix", "--only", "decod"], /did you mean decode\?/],
    [["--matrix", "--rounds", "0"], /at least 1|from 1 to 1000/],
  ];
  for (const [args, message] of refusals) {
    const run = vitrine(["bench", ...args]);
    assert.is(run.status, 2, args.join(" "));
    assert.match(run.stderr, message);
  }
  const unknown = vitrine([
    ...["bench", "--matrix", "--models", "tiny", "--variants", "z80", "--no-peer"],
  ]);
  assert.is(unknown.status, 1);
  assert.match(unknown.stderr, /z80/);
});

command("--limits prints the limits", () => {
  const run = vitrine(["bench", "--limits", "--json", "--mebibytes", "8", "-t", "1"]);
  assert.is(run.status, 0, run.stderr);
  assert.ok(JSON.parse(run.stdout).readBytes > 1e8);
});

command("the matrix runs on a tiny model", () => {
  const isSmall = availableMemory() < 35e9;
  if (!isSmall) process.stdout.write("\nskipped: a model of 36 GB may fit into this machine\n");
  const page = join(folder, "matrix.md");
  const out = join(folder, "matrix.json");
  const run = vitrine([
    ...[
      "bench",
      "--matrix",
      "--models",
      isSmall ? "tiny,llama-2-70b" : "tiny",
      "--formats",
      "Q4_0,F16",
      "--json",
    ],
    ...["--only", "load,prefill,decode,batch,chat,stream,memory,depth,attention,sampler"],
    ...["--variants", "best", "--no-peer", "--rounds", "1", "-p", "32", "-n", "8", "--depth", "64"],
    ...["--mebibytes", "8", "--folder", folder, "--out", out, "--page", page],
  ]);
  assert.is(run.status, 0, run.stderr);
  const found: Result = JSON.parse(run.stdout);
  assert.equal(JSON.parse(readFileSync(out, "utf8")), found);
  assert.match(readFileSync(page, "utf8"), /# Results of the benchmark/);
  const measured = new Set(
    found.rows.filter((row) => row.ours !== undefined).map((row) => row.workload),
  );
  for (
    const workload of ["load", "prefill", "decode", "batch", "chat", "stream", "memory", "depth"]
  ) assert.ok(measured.has(workload as Row["workload"]), workload);
  for (const row of found.rows) {
    assert.ok(row.skipped === undefined || /memory|cache/.test(row.skipped), row.skipped);
  }
  if (isSmall) {
    const large = found.rows.find((row) => row.model === "llama-2-70b" && row.format === "F16");
    assert.match(large?.skipped ?? "", /needs 1\d\d\.\d GB of memory/);
  }
  assert.ok(!existsSync(join(folder, "bench-llama-2-70b-F16.gguf")));
});

command("what records cost is measured, small", () => {
  const model = join(folder, "tracing.gguf");
  generateModel(model, "tiny", tiny, "Q8_0");
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const script = fileURLToPath(new URL("../bench/tracing.ts", import.meta.url));
  const small = ["--rounds", "1", "--tokens", "8", "--json"];
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [...runtime, script, model, ...small, ...args], {
      encoding: "utf8",
    });
  const run = bench();
  assert.is(run.status, 0, run.stderr);
  const { same, recording, drawing } = JSON.parse(run.stdout);
  assert.is(same, true);
  assert.is(recording.length, 7);
  for (const { many, one } of drawing) {
    assert.ok(many.median > 0);
    assert.is(Object.keys(one).length, 6);
    for (const { median } of Object.values(one) as { median: number }[]) assert.ok(median > 0);
  }
  const few = JSON.parse(bench("--only", "trace").stdout);
  assert.equal(few.recording.map(({ name }: { name: string }) => name), [
    "nothing",
    "trace of 256 candidates",
  ]);
  assert.match(bench("--only", "tap3").stderr, /Expected a word of .*, but found tap3/);
});

command("what a grammar costs is measured, small", () => {
  const model = join(folder, "grammar.gguf");
  generateModel(model, "tiny", tiny, "Q8_0");
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const script = fileURLToPath(new URL("../bench/grammar.ts", import.meta.url));
  const bench = (...args: string[]) =>
    spawnSync(process.execPath, [...runtime, script, model, ...args], { encoding: "utf8" });
  const run = bench("--rounds", "2", "--tokens", "8", "--json");
  assert.is(run.status, 0, run.stderr);
  const { tokens, rounds, vocabulary, rows } = JSON.parse(run.stdout);
  assert.equal([tokens, rounds], [8, 2]);
  assert.is(vocabulary, tiny.vocabulary);
  const names = rows.map(({ name }: { name: string }) => name);
  assert.equal(names, ["no grammar", "any text", "JSON by a schema"]);
  for (const { rate, slower } of rows) {
    assert.ok(rate.median > 0 && rate.min <= rate.max && rate.rounds === 2);
    assert.ok(slower.min <= slower.median && slower.median <= slower.max);
  }
  assert.is(rows[0].slower.median, 0);
  const people = bench("--rounds", "1", "--tokens", "3");
  assert.match(people.stdout, /tok\/s.*\n.*no grammar.*\n.*any text.*\n.*JSON by a schema/);
  const refused = bench("--tokens", "0");
  assert.ok(refused.status !== 0 && refused.stderr.includes("Expected whole numbers"));
});

command("many samples are measured, small", () => {
  const model = join(folder, "sample_many.gguf");
  generateModel(model, "tiny", tiny, "Q8_0");
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const script = fileURLToPath(new URL("../bench/sample_many.ts", import.meta.url));
  const small = ["--samples", "5", "--prompt", "20", "--tokens", "8", "--rounds", "1"];
  const args = [...runtime, script, model, ...small, "--alone", "2", "--no-peer", "--json"];
  const run = spawnSync(process.execPath, args, { encoding: "utf8" });
  assert.is(run.status, 0, run.stderr);
  const { same, rows, machine } = JSON.parse(run.stdout);
  assert.is(same, true);
  assert.ok(machine.cpus > 0);
  assert.equal(rows.map(({ name }: { name: string }) => name), [
    "sampleMany",
    "one after another",
    "one after another, each reading the prompt",
  ]);
  assert.ok(rows.every(({ ms }: { ms: { median: number } }) => ms.median > 0));
});
command.run();
