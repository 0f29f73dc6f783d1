import type { ChatMessage } from "./chat_message.ts";
import type { ChatTemplateOptions } from "./chat_template_options.ts";
import { EngineError } from "./engine_error.ts";
import { checkBoolean, checkFields, checkTokens, found } from "./internal/check.ts";
import { hookNames } from "./internal/hook_table.ts";
import { guard, unguard } from "./internal/leak_net.ts";
import { readMetadata, readTensors } from "./internal/metadata.ts";
import type { ModelCore } from "./internal/model_core.ts";
import { keepHandle } from "./internal/model_handles.ts";
import { template } from "./internal/template.ts";
import { createPool, type KvPool } from "./kv_pool.ts";
import type { KvPoolOptions } from "./kv_pool_options.ts";
import type { MetadataValue } from "./metadata_value.ts";
import type { ModelInfo } from "./model_info.ts";
import { createSession, restoredSessions, type Session } from "./session.ts";
import type { SamplerStage } from "./sampler_stage.ts";
import type { SessionOptions } from "./session_options.ts";
import type { RestoreOptions } from "./snapshot_options.ts";
import type { TensorInfo } from "./tensor_info.ts";
import type { TokenizeOptions } from "./tokenize_options.ts";

/** What is below a model; throws after it was disposed of. For the package's own use. */
export let modelCore: (model: Model) => ModelCore;

/**
 * A loaded model. Make one with `loadModel`, and dispose of it with `using`.
 *
 * Its sessions hold the weights too: disposing of the model first is harmless, and the memory is
 * given back with the last session.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * console.log(model.info.architecture, model.metadata.get("general.name"));
 * console.log(model.detokenize(model.tokenize("Hello")));
 * ```
 */
export class Model {
  #core: ModelCore | undefined;
  #metadata: ReadonlyMap<string, MetadataValue> | undefined;
  #tensors: readonly TensorInfo[] | undefined;

  static {
    modelCore = (model) => model.#alive();
  }

  /** Only `loadModel` makes models. */
  constructor(core: ModelCore) {
    this.#core = core;
    keepHandle(this, () => this.#alive().handle);
    guard(this, () => core.release());
  }

  /** What the model is, and how it runs. */
  get info(): ModelInfo {
    return this.#alive().info;
  }

  /** The file's metadata by key, in the file's order. */
  get metadata(): ReadonlyMap<string, MetadataValue> {
    return this.#metadata ??= readMetadata(this.#alive());
  }

  /** The file's tensors, in the file's order. */
  get tensors(): readonly TensorInfo[] {
    return this.#tensors ??= readTensors(this.#alive());
  }

  /**
   * Splits a text into tokens.
   *
   * @param text Any text.
   * @param options Whether special tokens are added, and recognised in the text.
   * @returns The ids of the tokens.
   */
  tokenize(text: string, options: TokenizeOptions = {}): Uint32Array<ArrayBuffer> {
    if (typeof text !== "string") throw new TypeError(`Expected a text, but found ${found(text)}`);
    checkFields(options, ["addSpecial", "parseSpecial"], "tokenize");
    const addSpecial = checkBoolean(options.addSpecial, "addSpecial") ?? true;
    const parseSpecial = checkBoolean(options.parseSpecial, "parseSpecial") ?? true;
    return this.#alive().tokenize(text, addSpecial, parseSpecial);
  }

  /**
   * Joins tokens to a text; bytes that make no whole character become U+FFFD.
   *
   * @param tokens Ids of tokens.
   * @param options With `special`, special tokens are written by their names; by default they
   *   have no text.
   * @returns The text.
   */
  detokenize(
    tokens: readonly number[] | Uint32Array,
    options: { readonly special?: boolean | undefined } = {},
  ): string {
    checkFields(options, ["special"], "detokenize");
    const special = checkBoolean(options.special, "special") ?? false;
    const core = this.#alive();
    return core.detokenize(checkTokens(tokens, core.info.vocabulary, "tokens"), special);
  }

  /**
   * The tokens that a grammar allows next: those that the stage `grammar` keeps behind what has been
   * generated so far.
   *
   * @param grammar In GBNF, or a stage that `grammar` or `jsonSchema` made.
   * @param generated What has been generated: text, or tokens; nothing by default.
   * @returns Ids of tokens, ascending. Tokens that end the text are among them where the grammar can end.
   * @throws {EngineError} `"invalid-argument"` when the grammar is wrong, or does not allow `generated`.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * const allowed = model.grammarMask('root ::= "yes" | "no"', "n");
   * console.log(Array.from(allowed, (token) => model.detokenize([token]))); // [ "o" ]
   * ```
   */
  grammarMask(
    grammar: string | SamplerStage,
    generated: string | readonly number[] | Uint32Array = "",
  ): Uint32Array<ArrayBuffer> {
    const text = typeof grammar === "string" ? grammar : grammar?.data;
    if (typeof text !== "string") {
      throw new TypeError(
        `Expected a grammar or a stage that has one, but found ${found(grammar)}`,
      );
    }
    const core = this.#alive();
    const isText = typeof generated === "string";
    const tokens = isText
      ? new Uint32Array(0)
      : checkTokens(generated, core.info.vocabulary, "what was generated");
    const words = core.grammarMask(text, isText ? generated : "", tokens);
    const ids: number[] = [];
    for (const [at, word] of words.entries()) {
      for (let rest = word; rest !== 0; rest &= rest - 1) {
        ids.push(32 * at + 31 - Math.clz32(rest & -rest));
      }
    }
    return Uint32Array.from(ids);
  }

  /**
   * The logits of any residual stream: the last norm and the output matrix, as after the last layer.
   * With what `Session.record` keeps behind other layers it is the logit lens. It computes on this
   * thread.
   *
   * @param residual [rows][info.embedding].
   * @returns [rows][info.logits].
   * @throws {RangeError} When it isn't whole rows.
   */
  unembed(residual: Float32Array): Float32Array<ArrayBuffer> {
    if (!(residual instanceof Float32Array)) {
      throw new TypeError(`Expected residual to be a Float32Array, but found ${found(residual)}`);
    }
    const { embedding } = this.info;
    if (residual.length === 0 || residual.length % embedding !== 0) {
      throw new RangeError(
        `Expected rows of ${embedding} values, but found ${residual.length} values`,
      );
    }
    return this.#alive().unembed(residual);
  }

  /** Names of all points that `Session.hooks` and `Session.record` take, in the model's order. */
  get hookPoints(): string[] {
    return hookNames(this.info.layers);
  }

  /**
   * Begins a sequence of tokens with its own KV cache.
   *
   * @param options Context length, formats of the KV cache, what happens when the context is full.
   * @returns The session; dispose of it when done (`using`).
   */
  session(options: SessionOptions = {}): Session {
    return createSession(this.#alive(), options);
  }

  /**
   * Sets pages of a KV cache aside that many sessions will share.
   *
   * @param options How many, their formats, and what happens when there are none left.
   * @returns The pool; dispose of it when done (`using`).
   */
  kvPool(options: KvPoolOptions): KvPool {
    return createPool(this.#alive(), options);
  }

  /**
   * Makes a session of a file that `Session.save` wrote: with its options, its tokens, and logits of the
   * same bits. `readSnapshot` looks into such a file without a model.
   *
   * @param path Of the file.
   * @param options A larger context, progress and cancellation.
   * @returns The session; dispose of it when done (`using`).
   * @throws {EngineError} `"invalid-file"` when the file is damaged or something else, `"foreign"` when it
   *   is of another model or precision. The message says what was expected.
   * @throws {RangeError} When the file has several sessions.
   */
  async restore(path: string, options: RestoreOptions = {}): Promise<Session> {
    const sessions = await restoredSessions(this.#alive(), path, options);
    if (sessions.length === 1) return sessions[0]!;
    for (const session of sessions) session.dispose();
    throw new RangeError(
      `Expected a file with one session, but found ${sessions.length}; restoreAll takes them all`,
    );
  }

  /**
   * Makes all sessions of a file, in the order in which they were saved. Pages of the cache that they
   * shared, as forks do, are shared again.
   *
   * @param path Of the file.
   * @param options As in `restore`.
   * @returns The sessions; disposing of the array disposes of them all.
   *
   * @example
   * ```ts
   * import { loadModel } from "./mod.ts";
   *
   * using model = await loadModel("smollm2");
   * using session = model.session({ context: 256 });
   * await session.prefill("The best thing about the sea is");
   * {
   *   using branches = session.fork(3);
   *   for (const [seed, branch] of branches.entries()) {
   *     await branch.generate("", { maxTokens: 8, seed }).text();
   *   }
   *   await session.save("sea.session", { with: branches });
   * }
   * using all = await model.restoreAll("sea.session");
   * for (const branch of all) console.log(model.detokenize(branch.tokens));
   * ```
   */
  async restoreAll(
    path: string,
    options: RestoreOptions = {},
  ): Promise<Session[] & Disposable> {
    const sessions = await restoredSessions(this.#alive(), path, options);
    const dispose = () => {
      for (const session of sessions) session.dispose();
    };
    return Object.assign(sessions, { [Symbol.dispose]: dispose });
  }

  /**
   * Writes a conversation as a prompt, with the chat template that the file carries.
   *
   * @param messages What was said, in order.
   * @param options Whether the prompt ends with the beginning of an answer, which is the default.
   * @returns The prompt; special tokens are written by their names, and the first token of a text
   *   is left out where `generate` adds it.
   */
  chatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    checkFields(options, ["addGenerationPrompt", "tools", "variables"], "chatTemplate");
    const addGenerationPrompt = checkBoolean(options.addGenerationPrompt, "addGenerationPrompt");
    for (const message of messages) {
      if (typeof message?.role !== "string") {
        throw new TypeError(`Expected messages with a role, but found ${found(message)}`);
      }
    }
    const source = this.metadata.get("tokenizer.chat_template");
    if (typeof source !== "string") {
      throw new EngineError(
        "unsupported",
        "Expected a model with a chat template, but found none in its metadata; " +
          "write the prompt yourself",
      );
    }
    return this.#render(source, messages, addGenerationPrompt ?? true, options);
  }

  #render(
    source: string,
    messages: readonly ChatMessage[],
    addGenerationPrompt: boolean,
    options: ChatTemplateOptions,
  ): string {
    const { bos, eos } = this.info;
    const name = (token: number | undefined) =>
      token === undefined ? "" : this.detokenize([token], { special: true });
    const bosText = name(bos);
    let prompt: string;
    try {
      prompt = template(source).render({
        messages,
        add_generation_prompt: addGenerationPrompt,
        bos_token: bosText,
        eos_token: name(eos),
        ...(options.tools && { tools: options.tools }),
        ...options.variables,
      });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new EngineError("unsupported", `The model's chat template failed: ${reason}`, {
        cause,
      });
    }
    // The tokenizer adds the first token by itself where the file says so; twice would be wrong.
    const adds = bos !== undefined && this.tokenize("")[0] === bos;
    return adds && prompt.startsWith(bosText) ? prompt.slice(bosText.length) : prompt;
  }

  /** Gives the model back; again is harmless. Sessions that still exist go on working. */
  dispose(): void {
    const core = this.#core;
    if (core === undefined) return;
    this.#core = undefined;
    unguard(this);
    core.release();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #alive(): ModelCore {
    if (this.#core === undefined) {
      throw new EngineError(
        "disposed",
        "Expected a model that is still loaded, but it was disposed of",
      );
    }
    return this.#core;
  }
}
