/**
 * Many continuations of one prompt: `sampleMany`, the same continuations one after another, and llama.cpp's
 * batched decode of the same work. They take turns, and each round begins with another one. All draw
 * with temperature 0.8, top-k 40 and top-p 0.9; a time is that of the prompt and of all tokens behind it.
 * One after another is measured twice: from forks of a session that read the prompt once, and in sessions
 * that each read it, as without forks. Either takes long, so that only some continuations are made and the
 * time counted as often as there are samples.
 *
 * usage: bun run bench/sample_many.ts [MODEL] [--samples 64] [--prompt 256] [--tokens 128] [--rounds 5]
 *          [--alone 4] [--no-peer] [--json] [--out FILE]
 *        deno run -A bench/sample_many.ts …
 *
 * A round takes about forty seconds on two cores.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { engineInfo, loadModel, type Model, temperature, topK, topP } from "../mod.ts";
import { note, print, printJson, table } from "../cli/output.ts";
import type { Driver } from "./driver.ts";
import { describeMachine } from "./machine.ts";
import { peerName, startPeer } from "./peer.ts";
import { type Spread, spread } from "./statistics.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    samples: { type: "string", default: "64" },
    prompt: { type: "string", default: "256" },
    tokens: { type: "string", default: "128" },
    rounds: { type: "string", default: "5" },
    alone: { type: "string", default: "4" },
    "no-peer": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    out: { type: "string" },
  },
});
const given = [values.samples, values.prompt, values.tokens, values.rounds, values.alone];
const [samples, length, tokens, rounds, alone] = given.map(Number) as [
  ...[number, number, number, number, number],
];
if (!given.every((text) => Number.isInteger(Number(text)) && Number(text) > 0) || samples > 64) {
  throw new RangeError(
    `Expected whole numbers of at least 1, and up to 64 samples, but found ${given.join(", ")}`,
  );
}

const options = { sampler: [temperature(0.8), topK(40), topP(0.9)], ignoreEnd: true };

/** Of work that only brings memory and clocks into the state of the rounds. */
const warmTokens = Math.min(tokens, 16);

/** The ids that both engines read. */
function promptOf(model: Model): Uint32Array {
  return Uint32Array.from({ length }, (_, i) => (1000 + 37 * i) % model.info.vocabulary);
}

/** How long something took, and the tokens of each continuation. */
interface Found {
  readonly ms: number;
  readonly texts: readonly string[];
}

/** All at once. */
async function together(model: Model, maxTokens: number): Promise<Found> {
  using session = model.session({ context: length + tokens });
  const begun = performance.now();
  const many = session.sampleMany(promptOf(model), { ...options, maxTokens, n: samples, seed: 1 });
  const texts: number[][] = Array.from({ length: samples }, () => []);
  for await (const { sample, token } of many) texts[sample]?.push(token);
  return { ms: performance.now() - begun, texts: texts.map((text) => text.join()) };
}

/** Some of them, each from a fork of the prompt; the time as if it had been all. */
async function oneByOne(model: Model, maxTokens: number): Promise<Found> {
  using session = model.session({ context: length + tokens });
  const begun = performance.now();
  await session.prefill(promptOf(model));
  const read = performance.now();
  const texts: string[] = [];
  const count = Math.min(alone, samples);
  for (let i = 0; i < count; i++) {
    using branch = session.fork();
    const text: number[] = [];
    const generation = branch.generate([], { ...options, maxTokens, seed: 1 + i });
    for await (const { token } of generation) text.push(token);
    texts.push(text.join());
  }
  const each = (performance.now() - read) / count;
  return { ms: read - begun + each * samples, texts };
}

/** Some of them, each in a session of its own that reads the prompt; the time as if it had been all. */
async function eachReading(model: Model, maxTokens: number): Promise<Found> {
  const begun = performance.now();
  const texts: string[] = [];
  const count = Math.min(alone, samples);
  for (let i = 0; i < count; i++) {
    using session = model.session({ context: length + tokens });
    const text: number[] = [];
    const generation = session.generate(promptOf(model), { ...options, maxTokens, seed: 1 + i });
    for await (const { token } of generation) text.push(token);
    texts.push(text.join());
  }
  return { ms: (performance.now() - begun) / count * samples, texts };
}

using model = await loadModel(positionals[0] ?? "smollm2");
const { path, threads, cpuVariant } = model.info;
const say = (text: string) => note(`${text}\n`);
await using peer: Driver | undefined = values["no-peer"]
  ? undefined
  : await startPeer(path, threads, "", true, say);
await peer?.ask("context", length + tokens, samples, 1, 1, 1);
const times = {
  together: [] as number[],
  oneByOne: [] as number[],
  eachReading: [] as number[],
};
const theirs = { all: [] as number[], decoding: [] as number[] };
let texts: readonly string[] = [];
let same = true;
/** Continuations of every round and kind are those of the first round. */
const compare = (found: Found): number => {
  // All at once comes first.
  if (texts.length === 0) texts = found.texts;
  same &&= found.texts.every((text, i) => text === texts[i]);
  return found.ms;
};
const sides = [
  async () => void times.together.push(compare(await together(model, tokens))),
  async () => void times.oneByOne.push(compare(await oneByOne(model, tokens))),
  async () => void times.eachReading.push(compare(await eachReading(model, tokens))),
  async () => {
    const [all = NaN, decoding = NaN] = await peer?.ask("many", samples, length, tokens) ?? [];
    theirs.all.push(all);
    theirs.decoding.push(decoding);
  },
];
await together(model, warmTokens);
await oneByOne(model, warmTokens);
await eachReading(model, warmTokens);
await peer?.ask("many", samples, length, warmTokens);
for (let round = 0; round < rounds; round++) {
  for (let i = 0; i < sides.length; i++) await sides[(round + i) % sides.length]?.();
}
const ratio = (others: readonly number[]) =>
  spread(others.map((ms, i) => ms / (times.together[i] as number)));
const rows: { name: string; ms: Spread; ratio: Spread }[] = [
  { name: "sampleMany", ms: spread(times.together), ratio: ratio(times.together) },
  { name: "one after another", ms: spread(times.oneByOne), ratio: ratio(times.oneByOne) },
  {
    name: "one after another, each reading the prompt",
    ms: spread(times.eachReading),
    ratio: ratio(times.eachReading),
  },
];
if (peer !== undefined) {
  rows.push({ name: peerName, ms: spread(theirs.all), ratio: ratio(theirs.all) });
  const name = "its decoding alone, without prompt and draws";
  rows.push({ name, ms: spread(theirs.decoding), ratio: ratio(theirs.decoding) });
}
const result = {
  when: new Date().toISOString(),
  engine: (await engineInfo()).version,
  ...(peer !== undefined && { peer: peerName }),
  machine: describeMachine(),
  model: basename(path),
  ...{ threads, cpuVariant, samples, prompt: length, tokens, alone, rounds, same, rows },
};
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
if (values.json) printJson(result);
else {
  print(table([
    [
      `${samples} samples of ${tokens} tokens`,
      "ms",
      "least",
      "most",
      "tok/s",
      "times sampleMany",
      "least",
      "most",
    ],
    ...rows.map(({ name, ms, ratio }) => [
      name,
      ...[ms.median, ms.min, ms.max].map((value) => value.toFixed(0)),
      (samples * tokens / ms.median * 1000).toFixed(0),
      ...[ratio.median, ratio.min, ratio.max].map((value) => value.toFixed(2)),
    ]),
  ]));
  print(same ? "each is the one that it is alone\n" : "the tokens differ\n");
}
process.exitCode = same ? 0 : 1;
