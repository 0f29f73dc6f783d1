/**
 * A loaded model below its public face. The public `Model` and every `Session` hold it; the native
 * model goes when the last of them is disposed of, in whatever order that happens.
 *
 * @module
 */
import { EngineError } from "../engine_error.ts";
import { check, type Library, openLibrary, statusError } from "../ffi/library.ts";
import {
  GrammarPrefixLayout,
  LoadOptionsLayout,
  ModelFlags,
  ModelInfoLayout,
  ModelPhase,
  ModelStateLayout,
  ModelText,
  PackedState as PackedStateId,
  PrecisionId,
  Status,
  TokenizeFlags,
} from "../ffi/symbols.gen.ts";
import type { LoadProgress } from "../load_progress.ts";
import type { ModelInfo } from "../model_info.ts";
import type { PackedState } from "../packed_state.ts";
import type { Precision } from "../precision.ts";
import { prepareTemplates } from "./template.ts";

/** Checked load options. */
export interface LoadSettings {
  readonly threads: number;
  readonly precision: Precision | undefined;
  readonly vocabularyOnly: boolean;
  /** Where packed weights are kept; nowhere by default. */
  readonly packed: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** How often `onProgress` is told, in milliseconds. */
const progressMs = 100;
const noToken = 0xffff_ffff;
const packedStates: Readonly<Record<number, PackedState>> = Object.fromEntries(
  Object.entries(PackedStateId).map(([name, id]) => [id, name as keyof typeof PackedStateId]),
);

export class ModelCore {
  readonly library: Library;
  readonly info: ModelInfo;
  #handle: number;
  #holders = 1;

  private constructor(library: Library, handle: number, info: ModelInfo) {
    this.library = library;
    this.#handle = handle;
    this.info = info;
  }

  /** Loads the file at `path` on a thread of the engine. */
  static async load(path: string, settings: LoadSettings): Promise<ModelCore> {
    const start = performance.now();
    const library = await openLibrary();
    const { calls, driver } = library;
    const bytes = encoder.encode(path);
    const options = packLoadOptions(settings);
    const out = new Uint32Array(1);
    driver.acquire();
    let handle = 0;
    try {
      const status = calls.vitrine_model_load(bytes, bytes.length, options, options.length, out);
      handle = out[0] ?? 0;
      check(library, status, handle);
      await Promise.all([loaded(library, handle, settings), prepareTemplates()]);
      const info = readInfo(library, handle, path, performance.now() - start);
      return new ModelCore(library, handle, info);
    } catch (error) {
      if (handle !== 0) calls.vitrine_model_destroy(handle);
      throw error;
    } finally {
      await driver.release();
    }
  }

  /** The native handle; throws after the model is gone. */
  get handle(): number {
    if (this.#handle === 0) {
      throw new EngineError("disposed", "Expected a model that is still loaded");
    }
    return this.#handle;
  }

  /** One more holder keeps the native model alive. */
  retain(): void {
    this.#holders++;
  }

  /** One holder less. */
  release(): void {
    if (--this.#holders > 0) return;
    this.library.calls.vitrine_model_destroy(this.#handle);
    this.#handle = 0;
  }

  /** The logits of rows of the residual stream. */
  unembed(residual: Float32Array): Float32Array<ArrayBuffer> {
    const given = Float32Array.from(residual);
    const out = new Float32Array(given.length / this.info.embedding * this.info.logits);
    const { vitrine_model_unembed } = this.library.calls;
    check(
      this.library,
      vitrine_model_unembed(this.handle, given, given.length, out, out.length),
      this.handle,
    );
    return out;
  }

  /** The tokens of a text. */
  tokenize(text: string, addSpecial: boolean, parseSpecial: boolean): Uint32Array<ArrayBuffer> {
    const bytes = encoder.encode(text);
    const flags = (addSpecial ? TokenizeFlags.add_special : 0) |
      (parseSpecial ? TokenizeFlags.parse_special : 0);
    // No token is made of less than one byte, but a prefix and special tokens may be added.
    let out = new Uint32Array(bytes.length + 8);
    const count = new Uint32Array(1);
    for (;;) {
      count[0] = out.length;
      const { vitrine_model_tokenize } = this.library.calls;
      const status = vitrine_model_tokenize(this.handle, bytes, bytes.length, flags, out, count);
      if (status === Status.buffer_too_small && (count[0] ?? 0) > out.length) {
        out = new Uint32Array(count[0] ?? 0);
        continue;
      }
      check(this.library, status, this.handle);
      return out.slice(0, count[0]);
    }
  }

  /** Bits of the tokens that a grammar allows behind a text and tokens. */
  grammarMask(
    grammar: string,
    text: string,
    tokens: Uint32Array<ArrayBuffer>,
  ): Uint32Array<ArrayBuffer> {
    const [rules, before] = [encoder.encode(grammar), encoder.encode(text)];
    const at = GrammarPrefixLayout;
    const prefix = new DataView(new ArrayBuffer(at.bytes));
    prefix.setUint32(at.size, at.bytes, true);
    prefix.setUint32(at.version, 1, true);
    prefix.setUint32(at.grammar_length, rules.length, true);
    prefix.setUint32(at.text_length, before.length, true);
    prefix.setUint32(at.token_count, tokens.length, true);
    const bytes = new Uint8Array(rules.length + before.length + tokens.byteLength);
    bytes.set(rules);
    bytes.set(before, rules.length);
    bytes.set(
      new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength),
      rules.length + before.length,
    );
    const words = new Uint32Array(Math.ceil(this.info.vocabulary / 32));
    const { vitrine_model_grammar_mask } = this.library.calls;
    const status = vitrine_model_grammar_mask(
      this.handle,
      new Uint8Array(prefix.buffer),
      at.bytes,
      bytes,
      words,
      words.length,
    );
    check(this.library, status, this.handle);
    return words;
  }

  /** Throws when another model's tokens aren't the same ones. */
  expectSameTokens(other: ModelCore): void {
    const status = this.library.calls.vitrine_model_match_tokens(this.handle, other.handle);
    check(this.library, status, this.handle);
  }

  /** The text of tokens; bytes that make no whole character become U+FFFD. */
  detokenize(tokens: Uint32Array<ArrayBuffer>, special: boolean): string {
    let out = new Uint8Array(tokens.length * 16 + 64);
    const length = new Uint32Array(1);
    const flags = special ? TokenizeFlags.parse_special : 0;
    for (;;) {
      length[0] = out.length;
      const { vitrine_model_detokenize } = this.library.calls;
      const status = vitrine_model_detokenize(
        this.handle,
        tokens,
        tokens.length,
        flags,
        out,
        length,
      );
      if (status === Status.buffer_too_small && (length[0] ?? 0) > out.length) {
        out = new Uint8Array(length[0] ?? 0);
        continue;
      }
      check(this.library, status, this.handle);
      return decoder.decode(out.subarray(0, length[0]));
    }
  }
}

function packLoadOptions(settings: LoadSettings): Uint8Array<ArrayBuffer> {
  const at = LoadOptionsLayout;
  const packed = encoder.encode(settings.packed ?? "");
  const bytes = new Uint8Array(at.bytes + packed.length);
  bytes.set(packed, at.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(at.size, at.bytes, true);
  view.setUint32(at.version, 1, true);
  view.setUint32(at.threads, settings.threads, true);
  view.setUint32(at.precision, PrecisionId[settings.precision ?? "int8"], true);
  view.setUint32(at.flags, settings.vocabularyOnly ? ModelFlags.vocabulary_only : 0, true);
  view.setUint32(at.packed_path_length, packed.length, true);
  return bytes;
}

/** Resolves when the model can be used. */
async function loaded(library: Library, handle: number, settings: LoadSettings): Promise<void> {
  const { calls, driver } = library;
  const { signal, onProgress } = settings;
  const state = new DataView(new ArrayBuffer(ModelStateLayout.bytes));
  const bytes = new Uint8Array(state.buffer);
  const report = () => {
    calls.vitrine_model_state(handle, bytes, bytes.length);
    onProgress?.({
      phase: "load",
      done: state.getFloat64(ModelStateLayout.done, true),
      total: state.getFloat64(ModelStateLayout.total, true),
    });
  };
  const cancel = () => void calls.vitrine_model_cancel(handle);
  signal?.addEventListener("abort", cancel);
  const timer = onProgress && setInterval(report, progressMs);
  try {
    signal?.throwIfAborted();
    for (;;) {
      const ticket = driver.wakes;
      check(library, calls.vitrine_model_state(handle, bytes, bytes.length), handle);
      const phase = state.getUint32(ModelStateLayout.phase, true);
      signal?.throwIfAborted();
      if (phase === ModelPhase.ready) break;
      if (phase !== ModelPhase.loading) {
        throw statusError(library, state.getInt32(ModelStateLayout.status, true), handle);
      }
      await driver.wait(ticket);
    }
    if (onProgress) report();
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", cancel);
  }
}

function readInfo(library: Library, handle: number, path: string, loadMs: number): ModelInfo {
  const at = ModelInfoLayout;
  const view = new DataView(new ArrayBuffer(at.bytes));
  const bytes = new Uint8Array(view.buffer);
  check(library, library.calls.vitrine_model_info(handle, bytes, bytes.length), handle);
  const word = (offset: number) => view.getUint32(offset, true);
  const token = (offset: number) => word(offset) === noToken ? undefined : word(offset);
  return {
    architecture: readText(library, handle, ModelText.architecture),
    path,
    cpuVariant: readText(library, handle, ModelText.cpu_variant),
    threads: word(at.threads),
    precision: word(at.precision) === PrecisionId.float ? "float" : "int8",
    vocabulary: word(at.vocabulary),
    logits: word(at.logits),
    contextTrain: word(at.context_train),
    layers: word(at.layers),
    embedding: word(at.embedding),
    heads: word(at.heads),
    kvHeads: word(at.kv_heads),
    keyLength: word(at.key_length),
    valueLength: word(at.value_length),
    weightsBytes: view.getFloat64(at.weights_bytes, true),
    packed: packedStates[word(at.packed_state)] ?? "off",
    packedNote: readText(library, handle, ModelText.packed_note) || undefined,
    loadMs,
    bos: token(at.bos),
    eos: token(at.eos),
  };
}

function readText(library: Library, handle: number, which: number): string {
  const buffer = new Uint8Array(1024);
  const length = new Uint32Array(1);
  const { vitrine_model_text } = library.calls;
  check(library, vitrine_model_text(handle, which, buffer, buffer.length, length), handle);
  return decoder.decode(buffer.subarray(0, length[0]));
}
