/**
 * The driver of streaming through TypeScript: what a user's script sees, token by token. Speaks the
 * lines of `driver/main.c`, of which it knows `stream` and `memory`.
 *
 * usage: stream.ts MODEL.gguf THREADS
 *
 * @module
 */

import process from "node:process";
import { createInterface } from "node:readline";
import { loadModel, type Session, temperature, topP } from "../mod.ts";

async function stream(session: Session, prompt: number, tokens: number): Promise<number[]> {
  session.truncate(0);
  const ids = Uint32Array.from({ length: prompt }, (_, i) => (1000 + 37 * i) % vocabulary);
  const times = new Float64Array(tokens);
  let count = 0;
  let letters = 0;
  const begun = performance.now();
  const steps = session.generate(ids, {
    sampler: [temperature(0.8), topP(0.9)],
    seed: 7,
    maxTokens: tokens,
    ignoreEnd: true,
  });
  for await (const step of steps) {
    times[count++] = performance.now();
    letters += step.text.length;
  }
  if (count !== tokens || letters === 0) {
    throw new Error(`Expected ${tokens} tokens with a text, but found ${count}`);
  }
  const gaps = times.subarray(1).map((time, i) => time - (times[i] ?? 0)).toSorted();
  const at = (share: number) => gaps[Math.floor(gaps.length * share)] ?? 0;
  return [(times[0] ?? 0) - begun, (times[tokens - 1] ?? 0) - begun, at(0.5), at(0.99)];
}

const [path = "", threads = "1"] = process.argv.slice(2);
const begun = performance.now();
using model = await loadModel(path, { threads: Number(threads) });
const { vocabulary } = model.info;
using session = model.session({ context: 4096 });
process.stdout.write(`ready ${(performance.now() - begun).toFixed(3)}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  const [command, prompt, tokens] = line.split(" ");
  const answer = command === "stream"
    ? await stream(session, Number(prompt), Number(tokens))
    : [process.memoryUsage().rss];
  process.stdout.write(`${answer.map((value) => value.toFixed(4)).join(" ")}\n`);
}
