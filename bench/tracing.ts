/**
 * What recording costs, and stages in TypeScript: a generation with a trace, with tapes, or with such a
 * stage, against one without, in turns; and how many tokens a second are drawn from a tape on one core.
 *
 * usage: bun run bench/tracing.ts [MODEL] [--rounds 15] [--tokens 96] [--candidates 256] [--only WORD]
 *          [--json]
 *        deno run -A bench/tracing.ts …
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import {
  customStage,
  type GenerateOptions,
  loadModel,
  type LogitTape,
  parseSampler,
  type SamplerStage,
  type Session,
  temperature,
  topK,
  topP,
} from "../mod.ts";
import { print, printJson, ProgressBar, table } from "../cli/output.ts";
import { rates, type Spread, spread } from "./statistics.ts";

const sampler = [temperature(0.8), topK(40), topP(0.9)];
/** Sees all candidates and changes none. */
const idle = customStage("idle", ({ probabilities }) => void probabilities[0]);
const drawRounds = 5;
/** Chains of which one draw of each step is timed. */
const chains = [
  "temperature=0.8,top-k=40,top-p=0.9",
  "greedy",
  "temperature=0.8,min-p=0.05",
  "temperature=0.8",
  "temperature=0.8,top-p=0.9",
  "typical=0.9",
];

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "15" },
    tokens: { type: "string", default: "96" },
    candidates: { type: "string", default: "256" },
    only: { type: "string", default: "" },
    json: { type: "boolean", default: false },
  },
});
const numbers = [values.rounds, values.tokens, values.candidates].map(Number);
const [rounds, tokens, candidates] = numbers as [number, number, number];
if (!numbers.every((n) => Number.isInteger(n) && n > 0)) {
  throw new RangeError(`Expected whole numbers of at least 1, but found ${numbers.join(", ")}`);
}

/** Ways to record. */
const allWays: readonly (readonly [name: string, options: GenerateOptions])[] = [
  ["nothing", {}],
  [`trace of ${candidates} candidates`, { trace: { candidates } }],
  ["tape f32", { tape: true }],
  ["tape f16", { tape: { kind: "f16" } }],
  ["tape of the 256 highest", { tape: { top: 256 } }],
  ["a stage in TypeScript, last", { sampler: [...sampler, idle] }],
  ["a stage in TypeScript, first", { sampler: [idle, ...sampler] }],
];

/** Those that have the word in their names, behind the first, which records nothing. */
const ways = allWays.filter(([name], way) => way === 0 || name.includes(values.only));
if (ways.length < 2) {
  const names = allWays.slice(1).map(([name]) => name);
  throw new RangeError(`Expected a word of ${names.join(", ")}, but found ${values.only}`);
}

/** One generation after the prompt: its time with all that is read afterwards, and its tokens. */
async function generated(session: Session, prompt: number, options: GenerateOptions) {
  session.truncate(prompt);
  await session.step({ sampler, seed: 0 });
  const begun = performance.now();
  const generation = session.generate("", {
    sampler,
    seed: 1,
    maxTokens: tokens,
    ignoreEnd: true,
    ...options,
  });
  await generation.text();
  const ms = performance.now() - begun;
  return { ms, text: session.tokens.join(), tape: generation.tape };
}

/** Draws a second. */
interface DrawRates {
  /** Of the default chain, 1000 of each step. */
  readonly many: Spread;
  /** One of each step, by chain. */
  readonly one: Readonly<Record<string, Spread>>;
}

async function drawRates(tape: LogitTape): Promise<DrawRates> {
  const timed = async (chain: readonly SamplerStage[], draws: number, times: number) => {
    const taken: number[] = [];
    for (let round = 0; round <= drawRounds; round++) {
      const begun = performance.now();
      for (let i = 0; i < times; i++) await tape.sample(chain, { draws, seed: round });
      taken.push(performance.now() - begun);
    }
    // The first pays for page faults, and for the index of the tape.
    return rates(taken.slice(1), tape.steps * draws * times);
  };
  const one: Record<string, Spread> = {};
  for (const notation of chains) one[notation] = await timed(parseSampler(notation), 1, 20);
  return { many: await timed(sampler, 1000, 1), one };
}

using model = await loadModel(positionals[0] ?? "smollm2");
using session = model.session({ context: 64 + tokens });
await session.prefill("The best thing about the sea is that it was there before us, and");
const prompt = session.position;
const bar = new ProgressBar((value) => `${value} rounds`);
const times = ways.map((): number[] => []);
const tapes = new Map<string, LogitTape>();
let same = true;
for (let round = 0; round <= rounds; round++) {
  bar.show("generating", round, rounds);
  let expected: string | undefined;
  for (let i = 0; i < ways.length; i++) {
    // Who begins takes turns, too.
    const way = (i + round) % ways.length;
    const [name, options] = ways[way] as (typeof ways)[number];
    const { ms, text, tape } = await generated(session, prompt, options);
    same &&= text === (expected ??= text);
    if (tape !== undefined) tapes.set(name, tape);
    if (round > 0) times[way]!.push(ms);
  }
}
bar.end();
const recording = ways.map(([name], way) => ({
  name,
  rate: rates(times[way]!, tokens),
  slower: spread(times[way]!.map((ms, round) => ms / times[0]![round]! - 1)),
}));
const drawing: ({ name: string } & DrawRates)[] = [];
for (const [name, tape] of tapes) drawing.push({ name, ...await drawRates(tape) });
if (values.json) {
  printJson({ tokens, candidates, vocabulary: model.info.logits, same, recording, drawing });
} else {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  print(table([
    ["", "tok/s", "ms a token", "slower, median of pairs", "least", "most"],
    ...recording.map(({ name, rate, slower }) => [
      name,
      rate.median.toFixed(1),
      (1000 / rate.median).toFixed(2),
      ...[slower.median, slower.min, slower.max].map(percent),
    ]),
  ]));
  if (drawing.length > 0) {
    const names = drawing.map(({ name }) => name);
    const row = (name: string, of: (rates: DrawRates) => Spread) => [
      name,
      ...drawing.map((rates) => of(rates).median.toFixed(0)),
    ];
    print(table([
      ["draws a second, one core", ...names],
      row("1000 of each step", ({ many }) => many),
      ...chains.map((chain) => row(`one: ${chain}`, ({ one }) => one[chain] as Spread)),
    ]));
  }
  print(same ? "all wrote the same tokens\n" : "the tokens differ\n");
}
process.exitCode = same ? 0 : 1;
