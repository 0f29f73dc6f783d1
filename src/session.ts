import type { Hook } from "./activation.ts";
import { EngineError } from "./engine_error.ts";
import { RequestFlags, StopReasonId } from "./ffi/symbols.gen.ts";
import type { GenerateOptions } from "./generate_options.ts";
import { Generation } from "./generation.ts";
import {
  checkBoolean,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  found,
} from "./internal/check.ts";
import { evictSettings } from "./internal/evict_settings.ts";
import {
  generateFields,
  generationSettings,
  prefillRequest,
  promptTokens,
} from "./internal/generation_settings.ts";
import { hookNames, matchingNames } from "./internal/hook_table.ts";
import type { ModelCore } from "./internal/model_core.ts";
import { SimulationTable } from "./internal/kv_simulation.ts";
import { cacheShapeOf, KvTable } from "./internal/kv_table.ts";
import type { PoolCore } from "./internal/pool_core.ts";
import { SessionCore } from "./internal/session_core.ts";
import { checkPath, restoreSessions, saveSessions } from "./internal/snapshot_core.ts";
import { KvCache } from "./kv_cache.ts";
import type { KvSimulation } from "./kv_simulation.ts";
import { LogitsView } from "./logits_view.ts";
import { MemoryMeter } from "./memory_meter.ts";
import { Recording } from "./recording.ts";
import type { SampleManyOptions } from "./sample_many_options.ts";
import { Samples } from "./samples.ts";
import type { PrefillOptions } from "./prefill_options.ts";
import type { SessionOptions } from "./session_options.ts";
import type { RestoreOptions, SaveOptions, SessionRestoreOptions } from "./snapshot_options.ts";
import type { SessionStats } from "./session_stats.ts";
import type { Step } from "./step.ts";
import type { StepOptions } from "./step_options.ts";

/** A prompt: text, or ids of tokens. */
type Prompt = string | readonly number[] | Uint32Array;

/** What is below a session. For the package's own use. */
export let sessionCore: (session: Session) => SessionCore;

/**
 * One sequence of tokens with its KV cache. Make one with `Model.session`, and dispose of it with
 * `using`.
 *
 * @example
 * ```ts
 * import { greedy, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 512 });
 * await session.prefill("The capital of France is");
 * const step = await session.step({ sampler: [greedy()] });
 * console.log(step.text, session.position);
 * ```
 */
export class Session {
  /** The session's KV cache. */
  readonly kv: KvCache;
  readonly #core: SessionCore;

  static {
    sessionCore = (session) => session.#core;
  }

  /** Only `Model.session` makes sessions. */
  constructor(core: SessionCore) {
    this.#core = core;
    this.kv = new KvCache(core);
  }

  /** Tokens in the sequence, prompt and generated ones. */
  get position(): number {
    return this.#core.position;
  }

  /** Tokens that the session can hold. */
  get context(): number {
    return this.#core.context;
  }

  /** A copy of the sequence's tokens. */
  get tokens(): Uint32Array<ArrayBuffer> {
    return this.#core.tokens();
  }

  /** What the last request took: counts and times. */
  get stats(): SessionStats {
    return this.#core.stats();
  }

  /**
   * Appends a prompt to the sequence and generates after it.
   *
   * @param prompt Text or tokens; may be empty when the session isn't.
   * @param options Sampler, seed, limits and cancellation.
   * @returns The steps, as an async iterator.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const settings = generationSettings(options);
    const core = this.#idle();
    const tokens = promptTokens(core.model, prompt, options, core.position === 0);
    return new Generation(core, tokens, settings);
  }

  /**
   * Generates several continuations of a prompt at once. The prompt is read once, and the weights once
   * for each step of all of them. The session itself stays as it is; its hooks are not theirs, as with
   * `fork`.
   *
   * @param prompt Text or tokens; may be empty when the session isn't.
   * @param options How many, and sampler, seed, limits and cancellation as in `generate`.
   * @returns The steps of all of them in rounds, as an async iterator. Each continuation is the one
   *   that `generate` gives alone with its seed.
   *
   * @example
   * ```ts
   * import { loadModel, temperature, topP } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 128 });
   * const samples = await session.sampleMany("The best thing about the sea is", {
   *   n: 8,
   *   sampler: [temperature(0.9), topP(0.95)],
   *   seed: 1,
   *   maxTokens: 12,
   * }).collect();
   * for (const { seed, text } of samples) console.log(seed, text);
   * ```
   */
  sampleMany(prompt: Prompt, options: SampleManyOptions): Samples {
    generationSettings(options, [...generateFields, "n"], "sampleMany");
    const core = this.#idle();
    const tokens = promptTokens(core.model, prompt, options, core.position === 0);
    return new Samples(this, tokens, options);
  }

  /**
   * Generates one token.
   *
   * @param options Sampler, seed and how many probable tokens are reported.
   * @returns The token.
   */
  async step(options: StepOptions = {}): Promise<Step> {
    const settings = generationSettings(
      options,
      ["sampler", "seed", "topLogprobs", "entropy", "signal"],
      "step",
    );
    const request = { ...settings.request, maxTokens: 1, flags: RequestFlags.ignore_end };
    const generation = new Generation(this.#idle(), new Uint32Array(0), { ...settings, request });
    let result: Step | undefined;
    for await (const step of generation) result = step;
    if (result === undefined) {
      throw new EngineError(
        "context-full",
        "Expected room for one more token, but the context is full",
      );
    }
    return result;
  }

  /**
   * Appends a prompt to the sequence without generating.
   *
   * @param prompt Text or tokens.
   * @param options Whether the logits of all positions are kept, and cancellation. A prefill that is
   *   cancelled leaves the session as it was.
   */
  async prefill(prompt: Prompt, options: PrefillOptions = {}): Promise<void> {
    checkFields(options, prefillFields, "prefill");
    const flags = checkBoolean(options.allLogits, "allLogits") ? RequestFlags.all_logits : 0;
    await this.#read(prompt, options, flags);
  }

  /**
   * Appends a prompt and says how probable the model found each of its tokens.
   *
   * @param prompt Text or tokens.
   * @param options As in `prefill`.
   * @returns Natural logarithms of the probabilities, one a token; NaN for the first token of an
   *   empty session, which nothing predicts.
   */
  async score(prompt: Prompt, options: PrefillOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    checkFields(options, prefillFields, "score");
    const flags = RequestFlags.prompt_logprobs |
      (checkBoolean(options.allLogits, "allLogits") ? RequestFlags.all_logits : 0);
    return await this.#read(prompt, options, flags);
  }

  /**
   * The logits behind a token.
   *
   * @param row By default those behind the last token of the sequence; else the index of a token of
   *   the last `prefill` with `allLogits`.
   * @returns A copy: one value for each token of the vocabulary.
   */
  logits(row?: number): Float32Array<ArrayBuffer> {
    if (row !== undefined) checkInteger(row, 0, Math.max(0, this.#core.logitRows - 1), "row");
    return this.#core.logits(row);
  }

  /**
   * The logits behind the last token, without a copy of their own for each step.
   *
   * @returns A view that ends when the session changes.
   */
  logitsView(): LogitsView {
    return new LogitsView(this.#idle().lease.begin());
  }

  /**
   * Forgets the tokens from `length` on.
   *
   * @param length From 0 to `position`.
   */
  truncate(length: number): void {
    this.#idle().truncate(checkInteger(length, 0, this.position, "length"));
  }

  /**
   * Makes a session that goes on from here: it has the tokens and the logits of this one, and is
   * independent of it from then on. Both share the pages of the KV cache up to here; a page is copied
   * when one of them writes to it.
   *
   * @example
   * ```ts
   * import { loadModel, temperature } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 256 });
   * await session.prefill("The best thing about the sea is");
   * using branches = session.fork(3);
   * const texts = branches.map((branch, seed) =>
   *   branch.generate("", { maxTokens: 8, sampler: [temperature(1)], seed }).text()
   * );
   * for (const text of await Promise.all(texts)) console.log(text);
   * ```
   */
  fork(): Session;
  /**
   * Makes several at once, all or none. Requests that run on them at the same time are computed
   * together, and what they have in common is read once for all of them.
   *
   * @param count How many, from 1 to 4095.
   * @returns The sessions; disposing of the array disposes of them all.
   */
  fork(count: number): Session[] & Disposable;
  fork(count?: number): Session | Session[] & Disposable {
    if (count !== undefined) checkInteger(count, 1, 4095, "count");
    const forks = this.#idle().fork(count ?? 1).map((core) => new Session(core));
    if (count === undefined) return forks[0]!;
    const dispose = () => {
      for (const session of forks) session.dispose();
    };
    return Object.assign(forks, { [Symbol.dispose]: dispose });
  }

  /**
   * Writes the session to a file: tokens, keys and values as they are stored, logits, and what they are
   * of. It is saved as it is now and may go on meanwhile. The file appears under its name when it is whole;
   * a saved session that was there before is replaced, anything else is not. docs/snapshot.md describes it.
   *
   * @param path Of the file.
   * @param options Other sessions for the same file, progress and cancellation.
   * @throws {EngineError} `"busy"` while a request runs, `"input-output"` when the file can't be written,
   *   `"foreign"` when sessions are of two models or two cache policies.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 256 });
   * await session.prefill("The lighthouse at the end of the world");
   * await session.save("lighthouse.session");
   * await session.prefill(" was dark");
   * await session.restore("lighthouse.session"); // back to where it was, to the bit
   *
   * using other = await model.restore("lighthouse.session"); // in another process, too
   * console.log(other.position === session.position);
   * ```
   */
  async save(path: string, options: SaveOptions = {}): Promise<void> {
    checkFields(options, ["with", "signal", "onProgress"], "save");
    const others: unknown = options.with ?? [];
    if (!Array.isArray(others) || !others.every((other) => other instanceof Session)) {
      throw new TypeError(`Expected with to be an array of sessions, but found ${found(others)}`);
    }
    const sessions: Session[] = [this, ...others];
    const cores = sessions.map((session) => session.#idle());
    checkPath(path);
    // What a pool has taken is computed again.
    for (const core of cores) if (!core.whole) await refill(core, options.signal);
    await saveSessions(cores, path, options);
  }

  /**
   * Puts the session where a saved one was: its next logits have the same bits. Its options and hooks stay
   * its own. A file that is damaged, or of another model, context or cache policy, is refused, and the
   * session stays as it is; `Model.restore` makes a session with the options of the file.
   *
   * @param path A file that `save` wrote.
   * @param options Which sequence of the file, progress and cancellation.
   * @throws {EngineError} `"invalid-file"` when the file is damaged or something else, `"foreign"` when it
   *   is of another model or cache policy or the session's pages are a pool's, `"context-full"` when it has more tokens than the session can hold.
   */
  async restore(path: string, options: SessionRestoreOptions = {}): Promise<void> {
    checkFields(options, ["sequence", "signal", "onProgress"], "restore");
    const core = this.#idle();
    const cores = await restoreSessions(core.model, checkPath(path), core.context, options);
    try {
      const sequence = checkInteger(options.sequence ?? 0, 0, cores.length - 1, "sequence");
      core.exchange(cores[sequence]!);
    } finally {
      for (const other of cores) other.dispose();
    }
  }

  /**
   * Shows activations to functions, which may change them, until what is returned is disposed of. A
   * `*` in a name stands for every layer or point; `Model.hookPoints` has all names. The engine waits
   * for each function, so hooks cost time; without them nothing.
   *
   * @param hooks Functions by the names of points.
   * @throws {RangeError} When a name fits no point.
   *
   * @example
   * ```ts
   * import { greedy, loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 128 });
   * {
   *   // Without what the last layer's attention adds:
   *   const point = `blocks.${model.info.layers - 1}.attn_out`;
   *   using _hooks = session.hooks({ [point]: ({ values }) => values.fill(0) });
   *   await session.prefill("The capital of France is");
   * }
   * console.log((await session.step({ sampler: [greedy()] })).text);
   * ```
   */
  hooks(hooks: Readonly<Record<string, Hook>>): Disposable {
    const { layers } = this.#core.model.info;
    if (typeof hooks !== "object" || hooks === null || Array.isArray(hooks)) {
      throw new TypeError(`Expected functions by names of hook points, but found ${found(hooks)}`);
    }
    const calls = new Map<string, Hook[]>();
    for (const [pattern, hook] of Object.entries(hooks)) {
      if (typeof hook !== "function") {
        throw new TypeError(`Expected a function for ${pattern}, but found ${found(hook)}`);
      }
      for (const name of matchingNames(pattern, layers)) {
        calls.set(name, [...calls.get(name) ?? [], hook]);
      }
    }
    const remove = this.#core.hooks.add({ calls, writes: true });
    return { [Symbol.dispose]: remove };
  }

  /**
   * Keeps activations of the tokens that are computed from now on.
   *
   * @param names Points; a `*` stands for every layer or point.
   * @throws {RangeError} When a name fits no point.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * // The logit lens: what the model would say after each layer.
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 128 });
   * using recording = session.record(["blocks.*.resid_post"]);
   * await session.prefill("The capital of France is");
   * for (const name of recording.names) {
   *   const { values, width } = recording.get(name);
   *   const logits = model.unembed(values.slice(-width)); // of the last token
   *   const best = logits.indexOf(Math.max(...logits));
   *   console.log(name, model.detokenize([best]));
   * }
   * ```
   */
  record(names: readonly string[]): Recording {
    const { layers } = this.#core.model.info;
    if (!Array.isArray(names) || names.length === 0) {
      throw new TypeError(`Expected names of hook points, but found ${found(names)}`);
    }
    const matching = new Set(names.flatMap((pattern) => matchingNames(pattern, layers)));
    const all = hookNames(layers).filter((name) => matching.has(name));
    const recording = new Recording(all, () => remove());
    const keep: Hook = (activation) => recording.add(activation);
    const calls = new Map(all.map((name) => [name, [keep]]));
    const remove = this.#core.hooks.add({ calls, writes: false });
    return recording;
  }

  /**
   * Counts what each pass reads from memory and computes, layer by layer, until what is returned is
   * disposed of. A session has one meter at a time.
   *
   * @param options How many passes are kept until they are read, the youngest; 4096 unless it is said.
   * @throws {EngineError} While a request runs.
   */
  meter(options: { readonly passes?: number | undefined } = {}): MemoryMeter {
    checkFields(options, ["passes"], "meter");
    return new MemoryMeter(
      this.#core,
      options.passes === undefined ? 4096 : checkInteger(options.passes, 1, 1 << 16, "passes"),
    );
  }

  /**
   * Lets keys and values pass through quantisers before they are stored, until what is returned is
   * disposed of: schemes described in JSON, real formats, or functions. What the session itself stores
   * them in comes on top; with `kv: { key: "f32", value: "f32" }` nothing does. A real format leaves the
   * very bits that a cache of it holds; attention over `q8_0` rounds queries to 8 bits too, which belongs
   * to its kernels and is not simulated. Tokens that the session keeps at full precision (`sinks`, `recent`)
   * pass through nothing, and a simulation that names some needs a session that keeps the same.
   *
   * @param simulation What passes through what.
   * @throws {RangeError} When it isn't for this model or this session.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2", { precision: "float" });
   * using session = model.session({ context: 256, kv: { key: "f32", value: "f32" } });
   * using _simulation = session.simulateKv({
   *   key: { bits: 4, axis: "channel", rotate: true },
   *   value: (values) => values.map((x) => Math.round(8 * x) / 8),
   *   rules: [{ layers: [0, 1], format: "f8_e4m3" }],
   * });
   * await session.prefill("The lighthouse at the end of the world");
   * console.log(session.kv.read({ which: "value", layer: 0 }).slice(0, 4));
   * ```
   */
  simulateKv(simulation: KvSimulation): Disposable {
    const core = this.#core;
    const table = new SimulationTable(simulation, cacheShapeOf(core.model.info), "simulation");
    table.checkStore(core.settings.kv, "simulation");
    const remove = core.hooks.add({
      calls: table.hooks(core.model, core.settings.kv),
      writes: true,
    });
    return { [Symbol.dispose]: remove };
  }

  /** Gives the session back; a running generation is cancelled. Again is harmless. */
  dispose(): void {
    this.#core.dispose();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #idle(): SessionCore {
    this.#core.requireIdle();
    return this.#core;
  }

  async #read(
    prompt: Prompt,
    options: PrefillOptions,
    flags: number,
  ): Promise<Float32Array<ArrayBuffer>> {
    checkFunction(options.onPrefill, "onPrefill");
    const signal = checkSignal(options.signal, "signal");
    const core = this.#idle();
    const before = core.position;
    const mark = core.mark();
    const tokens = promptTokens(core.model, prompt, options, before === 0);
    signal?.throwIfAborted();
    const scores = new Float32Array(tokens.length).fill(NaN);
    let reason: number | undefined;
    let finished = false;
    try {
      for await (const record of core.run(tokens, prefillRequest(flags), signal)) {
        if (record.kind === "prefill") {
          options.onPrefill?.({ done: record.done, total: tokens.length });
        } else if (record.kind === "prompt") {
          scores[record.position - before] = record.logprob;
        } else if (record.kind === "end") {
          reason = record.reason;
        }
      }
      if (reason === StopReasonId.failed) throw core.failure();
      signal?.throwIfAborted();
      if (reason === StopReasonId.cancelled) {
        throw new EngineError("cancelled", "The prefill was cancelled");
      }
      options.onPrefill?.({ done: tokens.length, total: tokens.length });
      finished = true;
    } finally {
      if (!finished && !core.disposed) core.backTo(mark, 0);
    }
    return scores;
  }
}

/** Computes what a pool has taken of a session again, and nothing else. */
async function refill(core: SessionCore, signal: AbortSignal | undefined): Promise<void> {
  const request = prefillRequest(RequestFlags.refill);
  for await (const record of core.run(new Uint32Array(0), request, checkSignal(signal, "signal"))) {
    if (record.kind !== "end") continue;
    if (record.reason === StopReasonId.failed) throw core.failure();
    if (record.reason === StopReasonId.cancelled) signal?.throwIfAborted();
  }
}

const prefillFields = ["allLogits", "signal", "addSpecial", "parseSpecial", "onPrefill"];

/** Makes sessions of a file; `Model.restore` calls it. */
export async function restoredSessions(
  model: ModelCore,
  path: string,
  options: RestoreOptions,
): Promise<Session[]> {
  checkFields(options, ["context", "signal", "onProgress"], "restore");
  const { context } = options;
  if (context !== undefined) checkInteger(context, 1, 1 << 20, "context");
  const cores = await restoreSessions(model, checkPath(path), context, options);
  return cores.map((core) => new Session(core));
}

const sessionFields = ["context", "chunk", "shift", "evict"];

/** Checks the options and makes a session; `Model.session` calls it. */
export function createSession(model: ModelCore, options: SessionOptions): Session {
  checkFields(options, [...sessionFields, "kv"], "session");
  const kv = new KvTable(options.kv, cacheShapeOf(model.info), "kv");
  return new Session(SessionCore.create(model, { ...sessionSettings(options), kv }));
}

/** The same with pages of a pool; `KvPool.session` calls it. */
export function sessionFrom(pool: PoolCore, options: Omit<SessionOptions, "kv">): Session {
  checkFields(options, sessionFields, "session");
  const settings = { ...sessionSettings(options), kv: pool.kv, pool };
  return new Session(SessionCore.create(pool.model, settings));
}

function sessionSettings(options: SessionOptions) {
  const { context, chunk, shift } = options;
  if (shift !== undefined) checkFields(shift, ["keep"], "session (shift)");
  return {
    context: context === undefined ? 0 : checkInteger(context, 1, 1 << 20, "context"),
    chunk: chunk === undefined ? 0 : checkInteger(chunk, 1, 1 << 20, "chunk"),
    shiftKeep: shift === undefined ? -1 : checkInteger(shift.keep, 0, 1 << 20, "shift.keep"),
    ...(options.evict !== undefined && { evict: evictSettings(options.evict) }),
  };
}
