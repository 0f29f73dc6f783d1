/* The driver of node-llama-cpp, which needs Node: one token after another through its own interface.
 * Speaks the lines of main.c, of which it knows `stream` and `memory`.
 *
 * usage: node node_llama.mjs FOLDER MODEL.gguf THREADS     FOLDER holds its node_modules */

import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [folder, path, threads] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const { getLlama } = await import(pathToFileURL(require.resolve("node-llama-cpp")).href);

const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
const begun = performance.now();
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: 4096,
  threads: Number(threads),
  flashAttention: true,
});
const sequence = context.getSequence();
process.stdout.write(`ready ${(performance.now() - begun).toFixed(3)}\n`);

async function stream(prompt, tokens) {
  await sequence.clearHistory();
  const ids = Array.from({ length: prompt }, (_, i) => (1000 + 37 * i) % 32000);
  const times = [];
  let letters = 0;
  const begun = performance.now();
  const options = { temperature: 0.8, topP: 0.9, topK: 0, seed: 7, yieldEogToken: true };
  for await (const token of sequence.evaluate(ids, options)) {
    times.push(performance.now());
    letters += model.detokenize([token]).length;
    if (times.length === tokens) break;
  }
  if (times.length !== tokens || letters === 0) {
    throw new Error(`Expected ${tokens} tokens with a text, but found ${times.length}`);
  }
  const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
  const at = (share) => gaps[Math.floor(gaps.length * share)];
  return [times[0] - begun, times[tokens - 1] - begun, at(0.5), at(0.99)];
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, prompt, tokens] = line.split(" ");
  const answer = command === "stream"
    ? await stream(Number(prompt), Number(tokens))
    : [process.memoryUsage().rss];
  process.stdout.write(`${answer.map((value) => value.toFixed(4)).join(" ")}\n`);
}
process.exit(0);
