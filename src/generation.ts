import type { DraftPass } from "./draft.ts";
import { EngineError } from "./engine_error.ts";
import { RequestFlags, StopReasonId } from "./ffi/symbols.gen.ts";
import { Drafting } from "./internal/drafting.ts";
import type { GenerationSettings } from "./internal/generation_settings.ts";
import { wantedRecords } from "./internal/record_settings.ts";
import { readRecorded } from "./internal/recorded.ts";
import type { EngineRecord } from "./internal/request.ts";
import type { SessionCore } from "./internal/session_core.ts";
import { StopFilter } from "./internal/stop_filter.ts";
import type { LogitTape } from "./logit_tape.ts";
import type { PromptToken } from "./prompt_token.ts";
import type { Step } from "./step.ts";
import type { StopReason } from "./stop_reason.ts";
import type { Trace } from "./trace.ts";

/**
 * A running generation: an async iterator of steps. Nothing is computed before the first `next`.
 *
 * The engine computes ahead of whoever reads. Leaving the loop early, or setting off the `signal`, stops it
 * and forgets the tokens that were not read, so that the session stands behind the last step that was.
 *
 * @example
 * ```ts
 * import { loadModel, temperature } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session();
 * const generation = session.generate("Once upon a time", {
 *   sampler: [temperature(0.8)],
 *   seed: 7,
 *   maxTokens: 8,
 * });
 * for await (const step of generation) console.log(step.token, step.text, step.logprob);
 * console.log(generation.stopReason);
 * ```
 */
export class Generation implements AsyncIterableIterator<Step> {
  /** The tokens of the prompt. */
  readonly promptTokens: Uint32Array<ArrayBuffer>;
  /** The seed of the random numbers: the one that was given, or the one that was drawn. */
  readonly seed: bigint;
  readonly #core: SessionCore;
  readonly #settings: GenerationSettings;
  readonly #steps: AsyncGenerator<Step>;
  #stopReason: StopReason | undefined;
  #prompt: readonly PromptToken[] | undefined;
  #trace: Trace | undefined;
  #tape: LogitTape | undefined;
  #drafts: DraftPass[] | undefined;
  #shown = 0;
  /** Text of a character that the last token left unfinished. */
  #tail = "";

  /** Only `Session.generate` makes these. */
  constructor(core: SessionCore, tokens: Uint32Array<ArrayBuffer>, settings: GenerationSettings) {
    this.promptTokens = tokens;
    this.seed = settings.request.seed;
    this.#core = core;
    this.#settings = settings;
    this.#steps = this.#run();
  }

  /** Why it ended; nothing before it did. */
  get stopReason(): StopReason | undefined {
    return this.#stopReason;
  }

  /**
   * The tokens of the prompt with their log-probabilities, whole from the first step on; nothing without
   * `promptLogprobs`.
   */
  get prompt(): readonly PromptToken[] | undefined {
    return this.#prompt;
  }

  /** What every stage did at each step that was read; nothing before it ended, or without `trace`. */
  get trace(): Trace | undefined {
    return this.#trace;
  }

  /** What came of each draft so far; nothing without `draft`. */
  get drafts(): readonly DraftPass[] | undefined {
    return this.#drafts;
  }

  /** The logits of each step that was read; nothing before it ended, or without `tape`. */
  get tape(): LogitTape | undefined {
    return this.#tape;
  }

  /**
   * Reads the generation to its end.
   *
   * @returns The text of the steps that were not read yet. Bytes of a character that was never
   *   completed end it as U+FFFD.
   */
  async text(): Promise<string> {
    let text = "";
    for await (const step of this) text += step.text;
    return text + this.#tail;
  }

  /** The next step. */
  next(): Promise<IteratorResult<Step>> {
    return this.#steps.next();
  }

  /** Ends the generation early; `for await` calls it when its loop is left. */
  return(): Promise<IteratorResult<Step>> {
    this.#stopReason ??= "aborted";
    return this.#steps.return(undefined);
  }

  /** Itself: a generation is read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the generation early, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async *#run(): AsyncGenerator<Step> {
    const { signal, stop, onPrefill, record: wanted } = this.#settings;
    const total = this.promptTokens.length;
    let read = 0;
    signal?.throwIfAborted();
    const core = this.#core;
    const records = wantedRecords(wanted, this.#settings.request, core);
    const request = { ...this.#settings.request, records };
    const before = core.position;
    // The text that stages see before the first step.
    const history = wanted.tape ? [...core.tokens(), ...this.promptTokens] : [];
    const prompt = unscored(this.promptTokens, before);
    if (request.flags & RequestFlags.prompt_logprobs) this.#prompt = prompt;
    const { draft, seed, flags } = request;
    const drafting = Drafting.begin(draft, core, this.promptTokens, {
      ...{ sampler: wanted.sampler, seed, signal },
      ignoreEnd: (flags & RequestFlags.ignore_end) !== 0,
    });
    if (draft !== undefined) this.#drafts = [];
    const filter = new StopFilter(stop);
    const mark = core.mark();
    let end: (EngineRecord & { kind: "end" }) | undefined;
    let [started, finished] = [false, false];
    try {
      for await (const record of core.run(this.promptTokens, request, signal)) {
        started = true;
        if (record.kind === "prefill") onPrefill?.({ done: read = record.done, total });
        if (record.kind === "end") end = record;
        if (record.kind === "prompt") {
          const { kind: _, text: __, ...scored } = record;
          prompt[record.position - before] = scored;
        }
        if (record.kind === "draft") {
          const { position, drafted, accepted } = record;
          if (drafted > 0) this.#drafts?.push({ position, drafted, accepted });
          if (record.wanted > 0) await drafting?.answer(record.wanted);
        }
        if (record.kind !== "token") continue;
        drafting?.follow(record.token);
        // The engine reports only pieces that aren't the last one.
        if (read < total) onPrefill?.({ done: read = total, total });
        const { token, text, logprob, entropy, top, position } = record;
        for (const step of filter.push({ token, text, logprob, entropy, top, position })) {
          yield this.#show(step);
        }
        if (!filter.found) continue;
        this.#stopReason = "stop";
        break;
      }
      for (const step of filter.flush()) yield this.#show(step);
      this.#requireWanted();
      if (end === undefined) return;
      this.#end(end.reason);
      this.#tail = end.text;
      finished = true;
    } finally {
      if (started && !core.disposed) {
        const recorded = readRecorded(core, wanted, { seed: request.seed, history }, this.#shown);
        this.#trace = recorded.trace;
        this.#tape = recorded.tape;
      }
      // The session holds what was shown; before the first step not the prompt either.
      if (!finished && !core.disposed) {
        core.backTo(mark, this.#shown === 0 ? 0 : total + this.#shown);
      }
      drafting?.dispose();
    }
  }

  /** A step on its way to the reader, who wants it. */
  #show(step: Step): Step {
    this.#requireWanted();
    this.#shown++;
    return step;
  }

  /** Throws what the signal was set off with, also where the engine was faster and has ended. */
  #requireWanted(): void {
    const { signal } = this.#settings;
    if (!signal?.aborted) return;
    this.#stopReason = "aborted";
    throw signal.reason;
  }

  #end(reason: number): void {
    switch (reason) {
      case StopReasonId.max_tokens:
        this.#stopReason = "length";
        break;
      case StopReasonId.end_of_generation:
        this.#stopReason = "end";
        break;
      case StopReasonId.context_full:
        this.#stopReason = "context";
        break;
      case StopReasonId.cancelled:
        this.#stopReason = "aborted";
        throw new EngineError("cancelled", "The generation was cancelled");
      default:
        throw this.#core.failure();
    }
  }
}

/** Tokens of a prompt that nothing is known of yet. */
function unscored(tokens: Uint32Array, from: number): PromptToken[] {
  return Array.from(tokens, (token, i) => ({
    token,
    position: from + i,
    logprob: NaN,
    entropy: NaN,
    top: [],
  }));
}
