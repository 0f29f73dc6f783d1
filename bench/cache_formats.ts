/**
 * What attention takes of a decode step with each format of the KV cache: the time behind many tokens less
 * the time behind one, beside each other in turns, and as a share of that of `f16`.
 *
 * usage: bun run bench/cache_formats.ts [--model llama-2-7b] [--layers 2] [--weights Q4_0] [--depth 4096]
 *          [--formats f16,q8_0] [--rounds 9] [--tokens 8] [--threads 2] [--folder DIR] [--json]
 *          [--out bench/results/cache_formats.json]
 *        deno run -A bench/cache_formats.ts …
 *
 * The model has the shape of a real one and as many layers as are asked for. VITRINE_CPU forces a variant.
 * `int4:64` is that format with groups of 64 instead of its usual ones of 32, `int8_channel:32` the reverse.
 * A file of results takes the rows of this run in the place of those that it has of the same formats: all
 * of them at once take more memory than some machines have.
 *
 * @module
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  engineInfo,
  greedy,
  type KvFormat,
  kvFormats,
  kvGroupFormats,
  loadModel,
  type Model,
  type Session,
} from "../mod.ts";
import { print, printJson, ProgressBar, table } from "../cli/output.ts";
import { groupUsual } from "../src/internal/kv_layout.ts";
import { generateModel } from "./generate.ts";
import { limitsOfVariant } from "./limits.ts";
import { describeMachine } from "./machine.ts";
import { type FileFormat, fileFormats, shapes, workOf } from "./shapes.ts";
import { sameInAll, type Spread, spread } from "./statistics.ts";
import { cacheTarget } from "./targets.ts";

/** A cache in one format, filled, and one that is almost empty. */
interface Case extends Disposable {
  readonly deep: Session;
  readonly shallow: Session;
}

/** A format as it is asked for. */
interface Asked {
  readonly name: string;
  readonly format: KvFormat;
  /** Tokens of a channel, and values of a token, that share a scale; as usual without it. */
  readonly group?: 32 | 64;
}

async function prepare(model: Model, asked: Asked, depth: number, room: number): Promise<Case> {
  const { format, group } = asked;
  // Groups of tokens are rounded when they are whole: such keys need a window of exact ones.
  const grouped = kvGroupFormats.some((name) => name === format);
  const stored = { format, group };
  const recent = group ?? groupUsual(format, model.info.keyLength);
  const kv = grouped ? { key: stored, value: stored, recent } : { key: format, value: format };
  const deep = model.session({ context: depth + room, kv });
  const shallow = model.session({ context: 1 + room, kv });
  const vocabulary = model.info.vocabulary;
  await deep.prefill(Uint32Array.from({ length: depth }, (_, i) => (1000 + 37 * i) % vocabulary));
  return {
    deep,
    shallow,
    [Symbol.dispose]: () => {
      deep.dispose();
      shallow.dispose();
    },
  };
}

/** Milliseconds of each of so many tokens behind `depth` others, and their hash. */
async function step(session: Session, depth: number, count: number) {
  session.truncate(depth - 1);
  await session.prefill([1000]);
  const begun = performance.now();
  let hash = 0;
  const options = { sampler: [greedy()], maxTokens: count, ignoreEnd: true };
  for await (const { token } of session.generate("", options)) hash = (hash * 31 + token) >>> 0;
  return { ms: (performance.now() - begun) / count, hash };
}

/** Rows of a file of results, by variant. */
type Variants = Readonly<Record<string, readonly { format: string; share: Spread }[]>>;

/** The rounds of one format. */
interface Times {
  readonly deep: number[];
  readonly shallow: number[];
  readonly hashes: number[];
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    model: { type: "string", default: "llama-2-7b" },
    weights: { type: "string", default: "Q4_0" },
    formats: { type: "string" },
    folder: { type: "string", default: tmpdir() },
    layers: { type: "string", default: "2" },
    depth: { type: "string", default: "4096" },
    rounds: { type: "string", default: "9" },
    tokens: { type: "string", default: "8" },
    threads: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
    out: { type: "string" },
  },
});
const numbers = [values.layers, values.depth, values.rounds, values.tokens, values.threads];
const [layers, depth, rounds, tokens, threads] = numbers.map(Number) as
  & number[]
  & [number, number, number, number, number];
if (![layers, depth, rounds, tokens, threads].every((n) => Number.isInteger(n) && n > 0)) {
  throw new RangeError(`Expected whole numbers of at least 1, but found ${numbers.join(", ")}`);
}
const shape = shapes[values.model];
if (shape === undefined || !(values.weights in fileFormats)) {
  throw new RangeError(
    `Expected a model and weights of the benchmark, but found ${values.model} in ${values.weights}`,
  );
}
const all: readonly Asked[] = [
  ...[...kvFormats, ...kvGroupFormats].map((format) => ({ name: format, format })),
  ...kvGroupFormats.flatMap((format) =>
    ([32, 64] as const)
      .filter((group) => group !== groupUsual(format, shape.embedding / shape.heads))
      .map((group) => ({ name: `${format}:${group}`, format, group }))
  ),
];
const chosen = (values.formats?.split(",") ?? all.map(({ name }) => name)).map((name) => {
  const found = all.find((one) => one.name === name);
  if (found !== undefined) return found;
  const names = all.map((one) => one.name).join(", ");
  throw new RangeError(`Expected formats of ${names}, but found ${name}`);
});
// Everything is a share of it.
const formats: Asked[] = [
  { name: "f16", format: "f16" },
  ...chosen.filter(({ name }) => name !== "f16"),
];

const path = join(values.folder, `cache-${values.model}-${layers}-${values.weights}.gguf`);
// The output matrix is no part of attention: a small one leaves less that can vary.
const own = { ...shape, layers, vocabulary: 1024, context: depth + tokens + 8 };
generateModel(path, values.model, own, values.weights as FileFormat);
const { readBytes, cpuVariant } = limitsOfVariant(process.env["VITRINE_CPU"] ?? "", threads, 256);
using model = await loadModel(path, { threads });
const bar = new ProgressBar((value) => `${value}`);
const cases: Case[] = [];
for (const [i, format] of formats.entries()) {
  bar.show("filling caches", i, formats.length);
  cases.push(await prepare(model, format, depth, tokens + 8));
}
const times = formats.map((): Times => ({ deep: [], shallow: [], hashes: [] }));
for (let round = 0; round <= rounds; round++) {
  bar.show("measuring", round, rounds + 1);
  for (let i = 0; i < cases.length; i++) {
    // Who begins takes turns, too.
    const at = (i + round) % cases.length;
    const { deep, shallow } = cases[at]!;
    const near = await step(shallow, 1, tokens);
    const far = await step(deep, depth, tokens);
    times[at]!.hashes.push(far.hash);
    // The first round pays for page faults.
    if (round === 0) continue;
    times[at]!.shallow.push(near.ms);
    times[at]!.deep.push(far.ms);
  }
}
bar.end();

/** What the depth adds, round by round. A round in which the shallow step was slowed is off, so the least is taken. */
const aloneOf = ({ deep, shallow }: Times) => {
  const least = spread(shallow).median;
  return deep.map((ms) => ms - least);
};
const { cacheValues } = workOf(own, values.weights as FileFormat);
const base = aloneOf(times[0]!);
const rows = formats.map(({ name, format }, i) => {
  const { deep, shallow, hashes } = times[i]!;
  sameInAll(hashes, "the same tokens");
  const alone = aloneOf(times[i]!);
  const { keyBits, valueBits } = cases[i]!.deep.kv.ledger();
  const bytes = (keyBits + valueBits) / 16 * cacheValues * (depth + tokens / 2);
  const target = cacheTarget(format);
  const share = spread(alone.map((ms, round) => ms / base[round]!));
  return {
    ...{
      format: name,
      shallow: spread(shallow),
      deep: spread(deep),
      alone: spread(alone),
      share,
      bytes,
    },
    ofBandwidth: bytes / (spread(alone).median / 1000) / readBytes,
    ...(target !== undefined && { target, holds: share.median <= target }),
  };
});
for (const one of cases) one[Symbol.dispose]();
const { version } = await engineInfo();
const setting = { version, model: values.model, weights: values.weights, threads, layers, depth };
if (values.out !== undefined) {
  const machine = describeMachine();
  const found = existsSync(values.out)
    ? JSON.parse(readFileSync(values.out, "utf8")) as { readonly variants: Variants }
    : { variants: {} };
  // Each row has the base of its own run in its share.
  const own = rows.map((row) => ({
    ...row,
    ...setting,
    readBytes,
    when: new Date().toISOString(),
  }));
  const before = found.variants[cpuVariant] ?? [];
  const others = before.filter(({ format }) => !own.some((row) => row.format === format));
  const all = [...others, ...own].sort((a, b) => a.share.median - b.share.median);
  const result = { machine, variants: { ...found.variants, [cpuVariant]: all } };
  writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
}
if (values.json) printJson({ ...setting, cpuVariant, readBytes, rows });
else {
  const time = ({ median, min, max }: Spread) =>
    `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
  print(
    `${values.model}, ${layers} layers, depth ${depth}, ${threads} threads, ${cpuVariant}, reads ${
      (readBytes / 1e9).toFixed(1)
    } GB/s\n`,
  );
  print(table([
    [
      "cache",
      "step at 1, ms",
      `step at ${depth}, ms`,
      "attention, ms",
      "of f16",
      "of bandwidth",
      "at most",
      "",
    ],
    ...rows.map((row) => [
      row.format,
      time(row.shallow),
      time(row.deep),
      time(row.alone),
      `${row.share.median.toFixed(2)} (${row.share.min.toFixed(2)}–${row.share.max.toFixed(2)})`,
      `${(100 * row.ofBandwidth).toFixed(0)} %`,
      row.target?.toFixed(2) ?? "",
      row.holds === undefined ? "" : row.holds ? "holds" : "misses",
    ]),
  ]));
}
