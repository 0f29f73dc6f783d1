/**
 * What each stage of the sampler costs: a draw from many candidates with the stage alone, beside the same
 * stage of llama.cpp. The engine's registry says which stages there are.
 *
 * @module
 */

import { formatSampler, parseSampler, sampleLogits, type SamplerStage } from "../mod.ts";
import { SamplerStages } from "../src/ffi/symbols.gen.ts";
import { notation } from "../src/internal/sampler_notation.ts";
import type { Driver } from "./driver.ts";
import { figure } from "./report.ts";
import { type Spread, spread } from "./statistics.ts";

/** One row of the table. */
export interface StageSpeed {
  /** The stage's name in the engine; `none` for a draw alone, `default` for the default chain. */
  readonly stage: string;
  /** What was measured, in the notation of `parseSampler`. */
  readonly chain: string;
  /** Microseconds a draw; nothing where `skipped` says why. */
  readonly ours?: Spread | undefined;
  /** The peer's chain in its own names, and its microseconds. */
  readonly peer?: { readonly chain: string; readonly micros: Spread } | undefined;
  /** Why the stage was not measured. */
  readonly skipped?: string | undefined;
}

/** What is measured, and how thoroughly. */
export interface StageSpeedOptions {
  readonly candidates: number;
  /** Counted rounds, after one that isn't. */
  readonly rounds: number;
  /** How long the draws of one round take, about, in milliseconds. */
  readonly roundMs: number;
  /** llama.cpp's driver. */
  readonly peer?: Driver | undefined;
  readonly onProgress?: (progress: { stage: string; done: number; total: number }) => void;
}

/** How a stage is measured, and what llama.cpp calls the same. */
interface Setting {
  /** In the notation of `parseSampler`. */
  readonly chain: string;
  /** In the words of `driver/llamacpp.c`. */
  readonly peer?: string;
}

/**
 * Usual settings. A stage that isn't here is measured too, with values that it accepts; it has no
 * counterpart.
 */
const settings: Readonly<Record<string, Setting>> = {
  greedy: { chain: "greedy", peer: "greedy" },
  temperature: { chain: "temperature=0.8", peer: "temp:0.8" },
  top_k: { chain: "top-k=40", peer: "top_k:40" },
  top_p: { chain: "top-p=0.9", peer: "top_p:0.9" },
  min_p: { chain: "min-p=0.05", peer: "min_p:0.05" },
  typical: { chain: "typical=0.9", peer: "typical:0.9" },
  top_n_sigma: { chain: "top-n-sigma=1", peer: "top_n_sigma:1" },
  epsilon_cutoff: { chain: "epsilon-cutoff=0.0003" },
  eta_cutoff: { chain: "eta-cutoff=0.0003" },
  tail_free: { chain: "tail-free=0.95" },
  top_a: { chain: "top-a=0.2" },
  // From 0.5 to 1.5, as 1 ± 0.5.
  dynamic_temperature: { chain: "dynamic-temperature=0.5:1.5:1", peer: "temp_ext:1:0.5:1" },
  xtc: { chain: "xtc=0.5:0.1", peer: "xtc:0.5:0.1" },
  mirostat: { chain: "mirostat=5:0.1", peer: "mirostat:5:0.1:100" },
  mirostat_v2: { chain: "mirostat-v2=5:0.1", peer: "mirostat_v2:5:0.1" },
  adaptive_p: { chain: "adaptive-p=0.5:0.9", peer: "adaptive_p:0.5:0.9" },
  repetition_penalty: { chain: "repetition-penalty=1.1:64", peer: "penalties:64:1.1:0:0" },
  frequency_penalty: { chain: "frequency-penalty=0.2:64", peer: "penalties:64:1:0.2:0" },
  presence_penalty: { chain: "presence-penalty=0.2:64", peer: "penalties:64:1:0:0.2" },
  no_repeat_ngram: { chain: "no-repeat-ngram=3" },
  logit_bias: { chain: "logit-bias=[[13,-2],[40,2]]" },
  // Without breakers, which are texts: this vocabulary has none.
  dry: { chain: "dry=0.8:1.75:2:256:[]", peer: "dry:0.8:1.75:2:256" },
};

/** The chain that the target of 150 µs is about. */
export const defaultChain = {
  chain: "temperature=0.8,top-k=40,top-p=0.9",
  peer: "temp:0.8,top_k:40,top_p:0.9",
};

/** What a row of logits alone can't measure. */
const elsewhere: Readonly<Record<string, string>> = {
  grammar: "it needs the texts of tokens; `bench/grammar.ts` measures whole generations",
  guidance: "it needs another session",
};

/** What a parameter is tried with where nobody said. */
const guesses = [0.5, 1, 2, 5, 40, 0];

/** Measures every stage, in turns with the peer. */
export async function measureStages(options: StageSpeedOptions): Promise<StageSpeed[]> {
  const { candidates, onProgress } = options;
  const logits = madeLogits(candidates);
  const names = Object.keys(SamplerStages).filter((name) => name !== "script");
  const total = names.length + 2;
  const rows: StageSpeed[] = [];
  onProgress?.({ stage: "none", done: 0, total });
  rows.push({ stage: "none", chain: "", ...await measure([], "none", logits, options) });
  for (const stage of names) {
    onProgress?.({ stage, done: rows.length, total });
    const made = await stageOf(stage, logits);
    if (typeof made === "string") {
      rows.push({ stage, chain: stage.replaceAll("_", "-"), skipped: made });
      continue;
    }
    const figures = await measure([made], settings[stage]?.peer, logits, options);
    rows.push({ stage, chain: formatSampler([made]), ...figures });
  }
  onProgress?.({ stage: "default", done: rows.length, total });
  const chain = parseSampler(defaultChain.chain);
  const figures = await measure(chain, defaultChain.peer, logits, options);
  rows.push({ stage: "default", chain: formatSampler(chain), ...figures });
  return rows;
}

/** A stage with its usual values, or with some that it accepts; otherwise the reason. */
async function stageOf(
  name: string,
  logits: Float32Array<ArrayBuffer>,
): Promise<SamplerStage | string> {
  if (elsewhere[name] !== undefined) return elsewhere[name];
  const known = name.replaceAll("_", "-");
  const few = logits.slice(0, 64);
  const own = settings[name]?.chain;
  const most = notation[known]?.values[1] ?? 0;
  const tries = own === undefined
    ? [known, ...guesses.flatMap((guess) => lists(known, guess, most))]
    : [own];
  let reason = "";
  for (const chain of tries) {
    try {
      const sampler = parseSampler(chain);
      await sampleLogits(few, { sampler });
      return sampler[0] as SamplerStage;
    } catch (error) {
      reason = (error as Error).message;
    }
  }
  return reason;
}

/** A stage with one value, with two, and so on, all of them the same. */
function lists(name: string, value: number, most: number): string[] {
  return Array.from({ length: most }, (_, i) => `${name}=${Array(i + 1).fill(value).join(":")}`);
}

/** Rounds of draws, ours and the peer's one after the other. */
async function measure(
  sampler: readonly SamplerStage[],
  peerChain: string | undefined,
  logits: Float32Array<ArrayBuffer>,
  { candidates, rounds, roundMs, peer }: StageSpeedOptions,
): Promise<Pick<StageSpeed, "ours" | "peer">> {
  const ours = async (count: number) => {
    const begun = performance.now();
    await sampleLogits(logits, { sampler, seed: 7, count });
    return performance.now() - begun;
  };
  const theirs = peer === undefined || peerChain === undefined
    ? undefined
    : async (count: number) => (await peer.ask("chain", candidates, count, peerChain))[0] as number;
  const sides = [ours, ...(theirs === undefined ? [] : [theirs])];
  const counts: number[] = [];
  for (const side of sides) {
    // The first draw pays for page faults; the next ones say how many make a round.
    await side(1);
    counts.push(Math.max(1, Math.min(400, Math.round(roundMs / (await side(4) / 4)))));
  }
  const micros = sides.map((): number[] => []);
  for (let round = 0; round <= rounds; round++) {
    for (const [i, side] of sides.entries()) {
      const count = counts[i] as number;
      const ms = await side(count);
      if (round > 0) micros[i]!.push(ms / count * 1000);
    }
  }
  const [own, other] = micros;
  return {
    ours: spread(own as number[]),
    ...(other !== undefined && { peer: { chain: peerChain as string, micros: spread(other) } }),
  };
}

/** The logits of `driver/main.c`: nearly normal, with a deviation of 3, the same bits. */
export function madeLogits(count: number): Float32Array<ArrayBuffer> {
  const { fround } = Math;
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      sum = fround(sum + fround(fround(fround(state >>> 0) / 2147483648) - 1));
    }
    return fround(fround(2.6) * sum);
  });
}

/** The head of the table. */
export const stageColumns = ["stage", "chain", "µs", "llama.cpp, µs", "ratio", "its chain"];

/** A row for people. */
export function stageCells({ stage, chain, ours, peer, skipped }: StageSpeed): string[] {
  const micros = ({ median, min, max }: Spread) =>
    `${figure(median)} (${figure(min)}–${figure(max)})`;
  if (ours === undefined) return [stage, chain, `not measured: ${skipped}`, "", "", ""];
  if (peer === undefined) return [stage, chain, micros(ours), "", "", ""];
  const ratio = `${figure(peer.micros.median / ours.median)}×`;
  return [stage, chain, micros(ours), micros(peer.micros), ratio, peer.chain];
}
