/**
 * Many continuations of one prompt: `sampleMany`, the same continuations one after another, and llama.cpp's
 * batched decode of the same work, in turns. All draw with temperature 0.8, top-k 40 and top-p 0.9; a
 * time is that of the prompt, read once, and of all tokens behind it. One after another takes long, so
 * that only some continuations are made and the time counted as often as there are samples.
 *
 * usage: bun run bench/sample_many.ts [MODEL] [--samples 64] [--prompt 256] [--tokens 128] [--rounds 3]
 *          [--alone 4] [--no-peer] [--json]
 *        deno run -A bench/sample_many.ts …
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { loadModel, type Model, temperature, topK, topP } from "../mod.ts";
import { note, print, printJson, table } from "../cli/output.ts";
import type { Driver } from "./driver.ts";
import { peerName, startPeer } from "./peer.ts";
import { type Spread, spread } from "./statistics.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    samples: { type: "string", default: "64" },
    prompt: { type: "string", default: "256" },
    tokens: { type: "string", default: "128" },
    rounds: { type: "string", default: "3" },
    alone: { type: "string", default: "4" },
    "no-peer": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
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

const options = {
  sampler: [temperature(0.8), topK(40), topP(0.9)],
  maxTokens: tokens,
  ignoreEnd: true,
};

/** The ids that both engines read. */
function promptOf(model: Model): Uint32Array {
  return Uint32Array.from({ length }, (_, i) => (1000 + 37 * i) % model.info.vocabulary);
}

/** All at once. */
async function together(model: Model): Promise<{ ms: number; texts: string[] }> {
  using session = model.session({ context: length + tokens });
  const begun = performance.now();
  const many = session.sampleMany(promptOf(model), { ...options, n: samples, seed: 1 });
  const texts: number[][] = Array.from({ length: samples }, () => []);
  for await (const { sample, token } of many) texts[sample]?.push(token);
  return { ms: performance.now() - begun, texts: texts.map((text) => text.join()) };
}

/** Some of them, each from a fork of the prompt; the time as if it had been all. */
async function oneByOne(model: Model): Promise<{ ms: number; texts: string[] }> {
  using session = model.session({ context: length + tokens });
  const begun = performance.now();
  await session.prefill(promptOf(model));
  const read = performance.now();
  const texts: string[] = [];
  const count = Math.min(alone, samples);
  for (let i = 0; i < count; i++) {
    using branch = session.fork();
    const text: number[] = [];
    const generation = branch.generate([], { ...options, seed: 1 + i });
    for await (const { token } of generation) text.push(token);
    texts.push(text.join());
  }
  const each = (performance.now() - read) / count;
  return { ms: read - begun + each * samples, texts };
}

using model = await loadModel(positionals[0] ?? "smollm2");
const { path, threads, cpuVariant } = model.info;
const say = (text: string) => note(`${text}\n`);
await using peer: Driver | undefined = values["no-peer"]
  ? undefined
  : await startPeer(path, threads, "", true, say);
await peer?.ask("context", length + tokens, samples, 1, 1, 1);
const times = { together: [] as number[], oneByOne: [] as number[] };
const theirs = { all: [] as number[], decoding: [] as number[] };
let same = true;
for (let round = 0; round <= rounds; round++) {
  const many = await together(model);
  const few = await oneByOne(model);
  same &&= few.texts.every((text, i) => text === many.texts[i]);
  const [all = NaN, decoding = NaN] = await peer?.ask("many", samples, length, tokens) ?? [];
  // The first pays for page faults and low clocks.
  if (round === 0) continue;
  times.together.push(many.ms);
  times.oneByOne.push(few.ms);
  theirs.all.push(all);
  theirs.decoding.push(decoding);
}
const ratio = (others: readonly number[]) =>
  spread(others.map((ms, i) => ms / (times.together[i] as number)));
const rows: { name: string; ms: Spread; ratio: Spread }[] = [
  { name: "sampleMany", ms: spread(times.together), ratio: ratio(times.together) },
  { name: "one after another", ms: spread(times.oneByOne), ratio: ratio(times.oneByOne) },
];
if (peer !== undefined) {
  rows.push({ name: peerName, ms: spread(theirs.all), ratio: ratio(theirs.all) });
  const name = "its decoding alone, without prompt and draws";
  rows.push({ name, ms: spread(theirs.decoding), ratio: ratio(theirs.decoding) });
}
if (values.json) {
  printJson({ samples, prompt: length, tokens, threads, cpuVariant, alone, same, rows });
} else {
  print(table([
    [`${samples} samples of ${tokens} tokens`, "ms", "tok/s", "times sampleMany", "least", "most"],
    ...rows.map(({ name, ms, ratio }) => [
      name,
      ms.median.toFixed(0),
      (samples * tokens / ms.median * 1000).toFixed(0),
      ...[ratio.median, ratio.min, ratio.max].map((value) => value.toFixed(2)),
    ]),
  ]));
  print(same ? "each is the one that it is alone\n" : "the tokens differ\n");
}
process.exitCode = same ? 0 : 1;
