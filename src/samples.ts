import type { Generation } from "./generation.ts";
import { checkInteger } from "./internal/check.ts";
import { checkSeed } from "./internal/generation_settings.ts";
import type { SampleManyOptions } from "./sample_many_options.ts";
import type { Session } from "./session.ts";
import type { Step } from "./step.ts";
import type { StopReason } from "./stop_reason.ts";

/** One generated token of one of several continuations. */
export interface SampledStep extends Step {
  /** Which continuation, from 0. */
  readonly sample: number;
}

/** One of several continuations as a whole. */
export interface Sample {
  readonly seed: bigint;
  /** What was shown of it; bytes of a character that was never completed end it as U+FFFD. */
  readonly text: string;
  /** The ids of its tokens. */
  readonly tokens: readonly number[];
  /** Natural logarithms of their probabilities in the model's own distribution. */
  readonly logprobs: readonly number[];
  readonly stopReason: StopReason | undefined;
}

/**
 * Several continuations that are generated together: an async iterator of the steps of all of them, in
 * rounds: the first step of each, then the second of each that has one, and so on. Nothing is computed before the first `next`. Leaving the loop early
 * stops them all; the session that they continue stays as it is in any case.
 *
 * @example
 * ```ts
 * import { loadModel, temperature } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const samples = session.sampleMany("Once upon a time", {
 *   n: 4,
 *   sampler: [temperature(0.8)],
 *   seed: 7,
 *   maxTokens: 8,
 * });
 * for await (const { sample, text } of samples) console.log(sample, text);
 * console.log(samples.seeds); // [7n, 8n, 9n, 10n]
 * ```
 */
export class Samples implements AsyncIterableIterator<SampledStep> {
  /** The seed of each continuation: `Session.generate` gives the same one with it, alone. */
  readonly seeds: readonly bigint[];
  readonly #steps: AsyncGenerator<SampledStep>;
  readonly #stopReasons: (StopReason | undefined)[];
  readonly #tails: string[];

  /** Only `Session.sampleMany` makes these. */
  constructor(session: Session, tokens: Uint32Array<ArrayBuffer>, options: SampleManyOptions) {
    const n = checkInteger(options.n, 1, 4000, "n");
    const first = checkSeed(options.seed);
    this.seeds = Array.from({ length: n }, (_, i) => BigInt.asUintN(64, first + BigInt(i)));
    this.#stopReasons = this.seeds.map(() => undefined);
    this.#tails = this.seeds.map(() => "");
    this.#steps = this.#run(session, tokens, options);
  }

  /** Why each of them ended; nothing for those that haven't. */
  get stopReasons(): readonly (StopReason | undefined)[] {
    return [...this.#stopReasons];
  }

  /**
   * Reads all of them to their ends.
   *
   * @returns One for each seed, of the steps that were not read yet.
   */
  async collect(): Promise<Sample[]> {
    const rows = this.seeds.map(() => ({
      text: "",
      tokens: [] as number[],
      logprobs: [] as number[],
    }));
    for await (const { sample, token, text, logprob } of this) {
      const row = rows[sample] as typeof rows[number];
      row.tokens.push(token);
      row.logprobs.push(logprob);
      row.text += text;
    }
    return rows.map(({ text, tokens, logprobs }, i) => ({
      seed: this.seeds[i] as bigint,
      text: text + this.#tails[i],
      tokens,
      logprobs,
      stopReason: this.#stopReasons[i],
    }));
  }

  /** The next step of any of them. */
  next(): Promise<IteratorResult<SampledStep>> {
    return this.#steps.next();
  }

  /** Ends them all early; `for await` calls it when its loop is left. */
  return(): Promise<IteratorResult<SampledStep>> {
    return this.#steps.return(undefined);
  }

  /** Itself: the continuations are read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends them all early, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async *#run(
    session: Session,
    tokens: Uint32Array<ArrayBuffer>,
    options: SampleManyOptions,
  ): AsyncGenerator<SampledStep> {
    const { n, onPrefill, ...each } = options;
    using base = session.fork();
    if (tokens.length > 0) await base.prefill(tokens, { onPrefill, signal: options.signal });
    using branches = base.fork(n);
    const generations = branches.map((branch, i) =>
      branch.generate([], { ...each, seed: this.seeds[i] })
    );
    try {
      for await (const { index, step } of merged(generations)) yield { sample: index, ...step };
      for (const [i, generation] of generations.entries()) this.#tails[i] = await generation.text();
    } finally {
      await Promise.allSettled(generations.map((generation) => generation.return()));
      for (const [i, { stopReason }] of generations.entries()) this.#stopReasons[i] = stopReason;
    }
  }
}

/**
 * The steps of all generations in rounds: one of each that has not ended, in their order. While one is
 * waited for, those of the others are read ahead, because an engine whose reader stops holds what the one
 * may be waiting for.
 */
async function* merged(
  generations: readonly Generation[],
): AsyncGenerator<{ index: number; step: Step }> {
  const queues: Step[][] = generations.map(() => []);
  const running = new Set(generations.keys());
  const asked = new Set<number>();
  let wake = () => {};
  const errors: unknown[] = [];
  const isLate = (index: number) => (queues[index] as Step[]).length === 0;
  const ask = (index: number) => {
    if (asked.has(index)) return;
    asked.add(index);
    void (generations[index] as Generation).next().then(({ done, value }) => {
      asked.delete(index);
      if (done) running.delete(index);
      else (queues[index] as Step[]).push(value);
      wake();
    }, (error) => {
      errors.push(error);
      wake();
    });
  };
  while (true) {
    if (errors.length > 0) throw errors[0];
    if ([...running].some(isLate)) {
      const woken = new Promise<void>((resolve) => wake = resolve);
      for (const index of running) ask(index);
      await woken;
      continue;
    }
    const round = [...generations.keys()].filter((index) => !isLate(index));
    if (round.length === 0) return;
    for (const index of round) {
      const step = (queues[index] as Step[]).shift() as Step;
      if (running.has(index) && isLate(index)) ask(index);
      yield { index, step };
      if (errors.length > 0) throw errors[0];
    }
  }
}
