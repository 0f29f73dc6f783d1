/**
 * `vitrine trace`: what each stage of a sampler does at each step.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { formatSampler, type Model, type Trace } from "../mod.ts";
import { lines } from "../src/internal/chart.ts";
import { type Command, commonOptions } from "./command.ts";
import {
  interruptSignal,
  loadOptions,
  openModel,
  sessionOptions,
  sessionSettings,
} from "./model.ts";
import { note, print, printJson, ProgressBar, table } from "./output.ts";
import { chainText, defaultChain, samplerOf, samplingOptions, seedOf } from "./sampling.ts";

const tokensDefault = 32;
const none = 0xffff_ffff;

/** The command. */
export const trace: Command = {
  name: "trace",
  summary: "show what each sampler stage leaves, step by step",
  usage: "MODEL PROMPT",
  description: [
    "Continues PROMPT as it is and shows each token with its rank and probability in the model's own",
    "distribution and the entropy of that (nats); then what each stage left: tokens, the share of the",
    "model's distribution that they have, the entropy among them, and the microseconds that the stage took;",
    "and the probability it was drawn with.",
    `Sampler stages apply in the order given; default: ${chainText(defaultChain)}.`,
  ],
  options: {
    tokens: {
      short: "n",
      value: "N",
      help: `generate at most N tokens; default: ${tokensDefault}`,
    },
    candidates: { value: "N", help: "with --json: the N most probable tokens behind each stage" },
    tape: { value: "FILE", help: "keep the logits there, for other chains to draw from" },
    svg: { value: "FILE", help: "draw surprisal and entropies there" },
    ...samplingOptions,
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [2, 2],
  run: async (given) => {
    const [ref, prompt] = given.positionals as [string, string];
    const sampler = samplerOf(given);
    const maxTokens = given.integer("tokens", 1, 1 << 20) ?? tokensDefault;
    const candidates = given.integer("candidates", 0, 4096) ?? 0;
    const seed = seedOf(given);
    const settings = sessionSettings(given);
    const signal = interruptSignal();
    using model = await openModel(ref, given, { signal });
    const context = settings.context ?? model.tokenize(prompt).length + maxTokens;
    using session = model.session({ ...settings, context });
    const file = given.text("tape");
    const generation = session.generate(prompt, {
      sampler,
      seed,
      maxTokens,
      signal,
      trace: { candidates },
      tape: file !== undefined,
    });
    const bar = new ProgressBar((value) => `${value} tokens`);
    let text = "";
    try {
      for await (const step of generation) {
        text += step.text;
        bar.show("generating", step.position - generation.promptTokens.length + 1, maxTokens);
      }
    } finally {
      bar.end();
    }
    const found = generation.trace as Trace;
    if (file !== undefined) generation.tape?.save(file);
    draw(found, prompt, given.text("svg"));
    if (given.has("json")) {
      printJson({
        prompt,
        sampler: formatSampler(sampler),
        // A seed can be larger than a JSON number keeps exactly.
        seed: generation.seed <= BigInt(Number.MAX_SAFE_INTEGER)
          ? generation.seed
          : String(generation.seed),
        text,
        stop_reason: generation.stopReason ?? null,
        trace: jsonOf(found, model),
      });
      return 0;
    }
    print(table(rowsOf(found, model)));
    note(`sampler: ${chainText(sampler)}; seed ${generation.seed}\n`);
    return 0;
  },
};

/** The header and one row a step. */
function rowsOf(found: Trace, model: Model): string[][] {
  const header = ["token", "rank", "p", "entropy"];
  for (const { name } of found.stages) header.push(name, "share", "entropy", "µs");
  const rows = [[...header, "drawn with"]];
  for (let step = 0; step < found.steps; step++) {
    const row = [
      textOf(model, found.token[step] as number),
      String(found.rank[step]),
      Math.exp(found.logprob[step] as number).toFixed(3),
      (found.model.entropy[step] as number).toFixed(2),
    ];
    for (const { left, nanoseconds } of found.stages) {
      row.push(
        String(left.candidates[step]),
        (left.mass[step] as number).toFixed(3),
        (left.entropy[step] as number).toFixed(2),
        ((nanoseconds[step] as number) / 1000).toFixed(1),
      );
    }
    rows.push([...row, (found.probability[step] as number).toFixed(3)]);
  }
  return rows;
}

function textOf(model: Model, token: number): string {
  return JSON.stringify(model.detokenize([token], { special: true }));
}

/** Columns, with the texts of tokens, and candidates as lists. */
function jsonOf(found: Trace, model: Model): Record<string, unknown> {
  const place = ({ topTokens, topLogits, topProbabilities, ...left }: Trace["model"]) => ({
    ...arrays(left),
    ...(found.depth > 0 && {
      top: Array.from(
        found.token,
        (_, step) =>
          Array.from({ length: found.depth }, (_, i) => step * found.depth + i)
            .filter((at) => topTokens[at] !== none)
            .map((at) => ({
              token: topTokens[at],
              text: model.detokenize([topTokens[at] as number], { special: true }),
              logit: topLogits[at],
              probability: topProbabilities[at],
            })),
      ),
    }),
  });
  const { position, token, rank, logprob, probability } = found;
  return {
    steps: found.steps,
    ...arrays({ position, token, rank, logprob, probability }),
    text: Array.from(token, (id) => model.detokenize([id], { special: true })),
    model: place(found.model),
    stages: found.stages.map(({ name, left, state, nanoseconds }) => ({
      name,
      ...arrays({ state, nanoseconds }),
      left: place(left),
    })),
  };
}

/** What is no number is null in JSON. */
function arrays(columns: Readonly<Record<string, ArrayLike<number>>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(columns).map(([name, values]) => [
      name,
      Array.from(values, (value) => Number.isFinite(value) ? value : null),
    ]),
  );
}

function draw(found: Trace, prompt: string, file: string | undefined): void {
  if (file === undefined) return;
  const short = prompt.length > 50 ? `${prompt.slice(0, 49)}…` : prompt;
  writeFileSync(
    file,
    lines({
      title: `After "${short}"`,
      x: "step",
      y: "nats",
      sets: [
        { name: "surprisal of the token", values: Array.from(found.logprob, (p) => -p) },
        { name: "entropy of the model", values: Array.from(found.model.entropy) },
        ...found.stages.map(({ name, left }) => ({
          name: `after ${name}`,
          values: Array.from(left.entropy),
        })),
      ],
    }),
  );
}
