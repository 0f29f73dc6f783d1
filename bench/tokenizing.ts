/**
 * Tokenizing alone, on one core: English text with the vocabulary of SmolLM2, against Hugging Face
 * `tokenizers`, which a Python environment of its own gets on demand. Both must find as many tokens.
 *
 * @module
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadModel, resolveModel } from "../mod.ts";
import { type Driver, must, peerFolder, root, startDriver } from "./driver.ts";
import { startEngine } from "./engine.ts";
import type { Listener, Plan } from "./matrix.ts";
import { Pair } from "./pair.ts";
import type { Row } from "./result.ts";
import { rates, sameInAll } from "./statistics.ts";
import { tokenizerTarget } from "./targets.ts";

const version = "0.23.3";
const peer = `Hugging Face tokenizers ${version}`;
const textBytes = 1 << 20;

/** The row. */
export async function tokenizerRow(plan: Plan, listener: Listener): Promise<Row> {
  listener.say("tokenizer");
  const { say } = listener;
  const model = await resolveModel("smollm2", { signal: plan.signal });
  const text = join(peerFolder, "english.txt");
  mkdirSync(peerFolder, { recursive: true });
  writeFileSync(text, englishText(textBytes));
  const patience = { rounds: plan.rounds, seconds: plan.seconds, signal: plan.signal };
  await using pair = new Pair(() => startEngine(model, 1, "", say), true, patience);
  if (plan.peers.length > 0) await pair.usePeer(() => startTokenizers(model, say));
  const rounds = await pair.measure({
    prepare: () => Promise.resolve(),
    round: (driver) => driver.ask("tokenize", textBytes, text),
  });
  const speed = (figures: readonly number[][]) =>
    rates(figures.map(([ms = NaN]) => ms), textBytes / 1e6);
  const counts = [...rounds.ours, ...rounds.peer].map(([, count = NaN]) => count);
  return {
    workload: "tokenizer",
    title: "encoding English with SmolLM2's vocabulary, one core",
    unit: "MB/s",
    ours: speed(rounds.ours),
    ...(rounds.peer.length > 0 && { peer: { name: peer, value: speed(rounds.peer) } }),
    target: tokenizerTarget,
    details: { tokens: sameInAll(counts, "as many tokens"), bytes: textBytes },
  };
}

/** English, as far as this project's own comments are: sentences, repeated to fill the length. */
export function englishText(length: number): Uint8Array {
  const lines: string[] = [];
  for (const folder of ["zig-src", "src", "cli", "bench"]) collect(join(root, folder), lines);
  const once = new TextEncoder().encode(lines.join("\n"));
  const out = new Uint8Array(length);
  for (let at = 0; at < length; at += once.length) out.set(once.subarray(0, length - at), at);
  // A character must not end in the middle.
  for (let i = length - 4; i < length; i++) if ((out[i] ?? 0) > 0x7f) out[i] = 0x20;
  return out;
}

function collect(path: string, lines: string[]): void {
  if (statSync(path).isDirectory()) {
    for (const name of readdirSync(path).sort()) collect(join(path, name), lines);
  } else if (/\.(zig|ts)$/.test(path)) {
    for (const line of readFileSync(path, "utf8").split("\n")) {
      const comment = /^\s*(?:\/\/[!/]|\*) (.*)/.exec(line)?.[1];
      if (comment !== undefined) lines.push(comment);
    }
  }
}

/** Starts `driver/hf_tokenize.py` with the vocabulary and the merges of our model. */
async function startTokenizers(model: string, say: (text: string) => void): Promise<Driver> {
  const python = join(peerFolder, "venv", "bin", "python");
  if (!existsSync(python)) must("python3", ["-m", "venv", join(peerFolder, "venv")]);
  const installed = join(peerFolder, "venv", `tokenizers-${version}`);
  if (!existsSync(installed)) {
    say(`installing ${peer} into .cache/peer`);
    must(python, ["-m", "pip", "install", "--quiet", `tokenizers==${version}`]);
    writeFileSync(installed, "");
  }
  const vocabulary = join(peerFolder, "vocabulary.json");
  using loaded = await loadModel(model, { vocabularyOnly: true });
  const strings = (key: string) => {
    const found = loaded.metadata.get(key);
    if (typeof found !== "object") throw new Error(`Expected ${key}, but found none`);
    return found.slice();
  };
  writeFileSync(
    vocabulary,
    JSON.stringify({
      tokens: strings("tokenizer.ggml.tokens"),
      merges: strings("tokenizer.ggml.merges"),
    }),
  );
  return await startDriver(python, [join(root, "bench", "driver", "hf_tokenize.py"), vocabulary], {
    TOKENIZERS_PARALLELISM: "false",
    RAYON_NUM_THREADS: "1",
  });
}
