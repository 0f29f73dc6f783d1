/**
 * Whether mirostat holds the surprise of long texts where fixed truncations drift.
 *
 * @module
 */

import { bootstrapInterval, parseSampler } from "../../mod.ts";
import { notation } from "../../src/internal/sampler_notation.ts";
import { mean, type Study, type StudyInput, type StudyResult } from "./study.ts";

/** What the engine may call its mirostats; version 2 first. */
const names = ["mirostat-v2", "mirostat-2", "mirostat2", "mirostat", "mirostat-v1", "mirostat-1"];
/** Surprises in bits, and the learning rate of the paper. */
const [targets, rate] = [[2.5, 4], 0.1] as const;
/** Truncations of both kinds: those that fall into repetition, and those that lose the thread. */
const others = ["top-k=5", "top-k=40", "top-p=0.5", "top-p=0.95", "temp=1"];
/** The first window holds what is said of the opening, and the rate needs it to find its place. */
const skipped = 1;

function stageName(): string | undefined {
  return names.find((name) => Object.hasOwn(notation, name));
}

/** The study. */
export const mirostat: Study = {
  id: "mirostat",
  title: "Surprise over long texts",
  about:
    "Mirostat (Basu et al. 2021, arXiv 2007.14966) steers the surprise of tokens, -log2 p in the model's own " +
    "distribution, to τ. The paper's finding: with small k and p the surprise falls as the text grows longer, " +
    "until it repeats (the boredom trap); with large ones it rises (the confusion trap); and surprise and " +
    "repetition go together whatever the sampler. Texts are generated far behind their opening; the tables " +
    "have the mean surprise of windows of them, and the rate of repeated 4-grams.",
  missing: () =>
    stageName() === undefined ? "the engine has no stage that is called mirostat" : undefined,
  run,
};

interface Texts {
  readonly name: string;
  /** [texts][tokens]: bits. */
  readonly surprise: readonly (readonly number[])[];
  readonly repetition: number;
}

async function run(input: StudyInput): Promise<StudyResult> {
  const stage = stageName();
  const steered = stage === undefined ? [] : targets.map((tau) => `${stage}=${tau}:${rate}`);
  const chains = [...steered, ...others];
  const all: Texts[] = [];
  for (const [i, chain] of chains.entries()) {
    all.push(
      await generate(input, chain, (share) => input.progress(i + share, chains.length)),
    );
  }
  return resultOf(all, steered, input.scale.window);
}

/** Long texts, side by side. */
async function generate(
  { model, scale, openings, signal }: StudyInput,
  chain: string,
  progress: (share: number) => void,
): Promise<Texts> {
  const { texts, longTokens } = scale;
  const sampler = parseSampler(chain);
  const surprise: number[][] = [];
  const tokens: number[][] = [];
  // Each text has an opening of its own, so that they are independent; they run together all the same.
  using stack = new DisposableStack();
  let done = 0;
  await Promise.all(
    Array.from({ length: texts }, async (_, i) => {
      const opening = openings[i % openings.length] as string;
      const session = stack.use(model.session({ context: 64 + longTokens }));
      const own: [number[], number[]] = [[], []];
      const options = { sampler, seed: i, maxTokens: longTokens, ignoreEnd: true, signal };
      for await (const step of session.generate(opening, options)) {
        own[0].push(-step.logprob / Math.LN2);
        own[1].push(step.token);
        if (++done % 50 === 0) progress(done / texts / longTokens);
      }
      surprise[i] = own[0];
      tokens[i] = own[1];
    }),
  );
  return { name: chain, surprise, repetition: mean(tokens.map(repetition)) };
}

/** Share of 4-grams that the text had before. */
function repetition(tokens: readonly number[]): number {
  const seen = new Set<string>();
  let repeated = 0;
  for (let i = 0; i + 4 <= tokens.length; i++) {
    const gram = tokens.slice(i, i + 4).join();
    if (seen.has(gram)) repeated++;
    seen.add(gram);
  }
  return repeated / Math.max(1, tokens.length - 3);
}

function resultOf(all: readonly Texts[], steered: readonly string[], window: number): StudyResult {
  const windows = Math.floor(all[0]!.surprise[0]!.length / window);
  /** [texts][windows] */
  const means = all.map(({ surprise }) =>
    surprise.map((bits) =>
      Array.from({ length: windows }, (_, w) => mean(bits.slice(w * window, (w + 1) * window)))
    )
  );
  const course = means.map((texts) =>
    Array.from({ length: windows }, (_, w) => mean(texts.map((own) => own[w] as number)))
  );
  // From the first settled window to the last, text by text.
  const first = Math.min(skipped, windows - 1);
  const drifts = means.map((texts) => texts.map((own) => own.at(-1)! - (own[first] as number)));
  const interval = (values: readonly number[]) =>
    values.length < 2 ? { value: mean(values), low: NaN, high: NaN } : bootstrapInterval(values);
  const rows = all.map(({ name, repetition: rate }, i) => {
    const drift = interval(drifts[i] as number[]);
    return [
      `\`${name}\``,
      ...course[i]!.map((bits) => bits.toFixed(2)),
      `${drift.value.toFixed(2)} (${drift.low.toFixed(2)}–${drift.high.toFixed(2)})`,
      `${(100 * rate).toFixed(1)} %`,
    ];
  });
  const settled = (i: number) => mean(course[i]!.slice(first));
  const drift = (name: string) => interval(drifts[all.findIndex((one) => one.name === name)]!);
  const verdicts = verdictsOf(all, steered, settled, drift);
  return {
    tables: [{
      title: `Bits a token, by window of ${window} tokens`,
      head: [
        "sampler",
        ...Array.from({ length: windows }, (_, w) => `to ${(w + 1) * window}`),
        "drift behind the first window",
        "repeated 4-grams",
      ],
      rows,
    }],
    verdicts,
    charts: [{
      name: "surprise",
      lines: {
        title: "Surprise as texts grow longer",
        x: `window of ${window} tokens`,
        first: 1,
        y: "bits a token",
        sets: [
          { name: "", values: [] },
          ...all.map(({ name }, i) => ({ name, values: course[i]! })),
        ],
      },
    }],
  };
}

/** `settled` is the mean behind the first window, of the samplers by index; `drift` goes by name. */
function verdictsOf(
  all: readonly Texts[],
  steered: readonly string[],
  settled: (index: number) => number,
  drift: (name: string) => { low: number; high: number },
): StudyResult["verdicts"] {
  return [
    ...steered.map((name, i) => ({
      text: `${name}: the mean surprise behind the first window is within 0.3 bits of τ`,
      holds: Math.abs(settled(i) - (targets[i] as number)) < 0.3,
    })),
    ...steered.map((name) => ({
      text: `${name}: no drift, its interval has 0 in it`,
      holds: drift(name).low <= 0 && drift(name).high >= 0,
    })),
    {
      text: "top-k=5 falls: the boredom trap",
      holds: drift("top-k=5").high < 0,
    },
    {
      text: "top-p=0.95 or the model's own distribution rises: the confusion trap",
      holds: drift("top-p=0.95").low > 0 || drift("temp=1").low > 0,
    },
    {
      text: "less surprise, more repetition: the order of the samplers is the same in both",
      holds: all.map((one, i) => ({ ...one, bits: settled(i) }))
        .toSorted((a, b) => a.bits - b.bits)
        .every((one, i, sorted) => i === 0 || one.repetition <= sorted[i - 1]!.repetition),
    },
  ];
}
