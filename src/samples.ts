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
      const rounds = new Rounds(generations);
      for (let round = await rounds.next(); round.length > 0; round = await rounds.next()) {
        for (const sample of round) {
          yield { sample, ...rounds.take(sample) };
          // Those that were read ahead may have ended.
          options.signal?.throwIfAborted();
        }
      }
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
class Rounds {
  readonly #generations: readonly Generation[];
  readonly #queues: Step[][];
  readonly #running: Set<number>;
  readonly #asked = new Set<number>();
  readonly #errors: unknown[] = [];
  /** Those that run and have no step to show. */
  #late: number;
  #waiting = false;
  #wake = () => {};

  constructor(generations: readonly Generation[]) {
    this.#generations = generations;
    this.#queues = generations.map(() => []);
    this.#running = new Set(generations.keys());
    this.#late = generations.length;
  }

  /** Those that have a step in the next round; none when all have ended. */
  async next(): Promise<readonly number[]> {
    this.#check();
    if (this.#late > 0) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      this.#waiting = true;
      for (const index of this.#running) this.#ask(index);
      await woken;
      this.#waiting = false;
      this.#check();
    }
    return [...this.#queues.keys()].filter((index) => (this.#queues[index] as Step[]).length > 0);
  }

  /** Such a one's step; the next one is asked for. */
  take(index: number): Step {
    this.#check();
    const queue = this.#queues[index] as Step[];
    const step = queue.shift() as Step;
    if (queue.length === 0 && this.#running.has(index)) {
      this.#late++;
      this.#ask(index);
    }
    return step;
  }

  #check(): void {
    if (this.#errors.length > 0) throw this.#errors[0];
  }

  #ask(index: number): void {
    if (this.#asked.has(index)) return;
    this.#asked.add(index);
    void (this.#generations[index] as Generation).next().then(({ done, value }) => {
      this.#asked.delete(index);
      const queue = this.#queues[index] as Step[];
      if (queue.length === 0) this.#late--;
      if (done) this.#running.delete(index);
      else queue.push(value);
      if (this.#late === 0) this.#wake();
      else if (this.#waiting && !done) this.#ask(index);
    }, (error) => {
      this.#errors.push(error);
      this.#wake();
    });
  }
}
