import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { EngineError } from "./engine_error.ts";
import { type Library, openLibrary } from "./ffi/library.ts";
import { StageLayout, TapeDrawLayout, TapeKind } from "./ffi/symbols.gen.ts";
import { formatSampler } from "./format_sampler.ts";
import { checkFields, checkInteger, checkTokens, found } from "./internal/check.ts";
import { checkSeed } from "./internal/generation_settings.ts";
import { decodeRows } from "./internal/kv_rows.ts";
import { handleOf } from "./internal/model_handles.ts";
import { permutations } from "./internal/permutations.ts";
import { packStages } from "./internal/request.ts";
import { drawing } from "./internal/stage_host.ts";
import { xxHash32 } from "./internal/xxhash32.ts";
import type { Model } from "./model.ts";
import { parseSampler } from "./parse_sampler.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** What a tape is of. */
export interface TapeHeader {
  /** The model's family. */
  readonly model: string;
  /** A hash that tells the model's file from others: 16 hexadecimal digits. */
  readonly identity: string;
  /** Length of a row of the model's logits. */
  readonly vocabulary: number;
  /** How logits are kept. */
  readonly kind: "f32" | "f16" | "top";
  /** Logits that are kept of a step. */
  readonly count: number;
  readonly steps: number;
  /** Of the generation, as decimal digits. */
  readonly seed: string;
  /** The generation's chain, as `formatSampler` writes it. */
  readonly sampler: string;
  /** The tokens before the first step, the prompt's and those that the session held. */
  readonly history: readonly number[];
}

/** The logits of one step, and what was drawn from them. */
export interface TapeRow {
  /** The token's place in the sequence. */
  readonly position: number;
  readonly token: number;
  /** Natural logarithm of its probability in the model's own distribution. */
  readonly logprob: number;
  /** The ids of the tokens whose logits are kept, ascending; all where `kind` isn't `"top"`. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** Their logits. */
  readonly logits: Float32Array<ArrayBuffer>;
  /** Logarithm of the sum of the exponentials of all other logits; -Infinity when there are none. */
  readonly rest: number;
}

/** One step at which another chain takes another token. */
export interface TapeDifference {
  /** Index of the step, from 0. */
  readonly step: number;
  /** The token's place in the sequence. */
  readonly position: number;
  /** The token that was drawn when the tape was recorded. */
  readonly recorded: number;
  /** The token that the other chain draws. */
  readonly chosen: number;
}

/** What another chain would have chosen at each step of a tape. */
export interface TapeComparison {
  /** Its token of each step, given the recorded text before. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /**
   * The steps at which it takes another one. At the first of them the two texts part: only up to there are
   * the recorded logits those that the other chain would have seen.
   */
  readonly differences: readonly TapeDifference[];
}

/** How tokens are drawn from a tape. */
export interface TapeSampleOptions {
  /** Of the random numbers; by default the recorded one. */
  readonly seed?: number | bigint | undefined;
  /** The tape's model, for stages that must know the texts of tokens. */
  readonly model?: Model | undefined;
}

/** What a list of stages does in one order. */
export interface OrderResult {
  /** The stages in this order. */
  readonly sampler: readonly SamplerStage[];
  /** The same in the notation of `parseSampler`. */
  readonly notation: string;
  /** The token of each step. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** Steps at which it takes another token than the first order does. */
  readonly differs: number;
  /** How many tokens are left to draw from, the mean over all steps. */
  readonly candidates: number;
  /** Entropy of what is left, in nats, the mean over all steps. */
  readonly entropy: number;
  /** Total variation distance from the first order's distributions, from 0 to 1: the mean over all steps. */
  readonly distance: number;
  /** The largest over all steps. */
  readonly distanceMax: number;
}

const magic = "VITRTAPE";
const version = 1;
/** Magic, version, bytes of the JSON, bytes of the rows, checksum of everything behind these. */
const preambleBytes = 24;
/** Position, token, its log-probability, and the logarithm of the mass that a row leaves out. */
const headBytes = 16;
const orderMax = 6;
/** Probabilities that are compared at once. */
const distributionsMax = 1 << 24;

/**
 * The logits of a generation's steps and the tokens that were drawn. Any chain can draw from them, without
 * the model: `Session.generate` records one with `tape`, `readTape` opens one that was saved.
 *
 * @example
 * ```ts
 * import { loadModel, minP, readTape, temperature, topK, topP } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const generation = session.generate("The best thing about the sea is", {
 *   sampler: [temperature(0.8), topP(0.9)],
 *   seed: 7,
 *   maxTokens: 16,
 *   tape: { kind: "f16" },
 * });
 * await generation.text();
 * generation.tape?.save("sea.tape");
 *
 * const tape = readTape("sea.tape"); // without the model from here on
 * const draws = await tape.sample([temperature(1), minP(0.05)], { draws: 1000 });
 * console.log(draws.length); // 16 steps of 1000
 * const { differences } = await tape.counterfactual([temperature(1), minP(0.05)]);
 * console.log(differences[0]); // where the texts would part
 * for (const order of await tape.orderAblation([temperature(2), topK(40), topP(0.9)])) {
 *   console.log(order.notation, order.candidates, order.distance);
 * }
 * ```
 */
export class LogitTape {
  readonly header: TapeHeader;
  readonly #rows: Uint8Array<ArrayBuffer>;
  /** What draws found out of rows, and need not look for again. */
  #index: Uint8Array<ArrayBuffer> | undefined;

  /** The generation's chain; a file has its notation only. */
  readonly #sampler: readonly SamplerStage[] | undefined;

  /** Only generations and `readTape` make these. */
  constructor(
    header: TapeHeader,
    rows: Uint8Array<ArrayBuffer>,
    sampler?: readonly SamplerStage[],
  ) {
    this.header = header;
    this.#rows = rows;
    this.#sampler = sampler;
  }

  /** How many steps there are. */
  get steps(): number {
    return this.header.steps;
  }

  /** The tokens that were drawn, one a step. */
  get tokens(): Uint32Array<ArrayBuffer> {
    return this.#words(4);
  }

  /** Where they stand in the sequence. */
  get positions(): Uint32Array<ArrayBuffer> {
    return this.#words(0);
  }

  /**
   * The logits of a step.
   *
   * @param step From 0.
   * @returns A copy.
   */
  row(step: number): TapeRow {
    const at = this.#row(step);
    const view = new DataView(at.buffer, at.byteOffset, headBytes);
    const { kind, count } = this.header;
    const body = at.slice(headBytes);
    const ids = kind === "top"
      ? new Uint32Array(body.buffer, 0, count)
      : Uint32Array.from({ length: count }, (_, id) => id);
    const logits = kind === "f16"
      ? decodeRows("f16", body.slice(0, 2 * count), count)
      : new Float32Array(body.buffer, kind === "top" ? 4 * count : 0, count);
    return {
      position: view.getUint32(0, true),
      token: view.getUint32(4, true),
      logprob: view.getFloat32(8, true),
      tokens: ids,
      logits,
      rest: view.getFloat32(12, true),
    };
  }

  /**
   * Draws with any chain, as a session would that stands at the step: stages that look at the text see
   * the recorded one.
   *
   * @param sampler The stages, in order; none: the model's own distribution.
   * @param options The seed, by default the recorded one; a model, for stages that must know the texts of
   *   tokens; and how many draws of each step, 1 by default: the first is what `Session.generate` gives with
   *   that seed, the n-th has random numbers of its own.
   * @returns Ids of tokens: [steps][draws].
   */
  async sample(
    sampler: readonly SamplerStage[],
    options: TapeSampleOptions & { readonly draws?: number | undefined } = {},
  ): Promise<Uint32Array<ArrayBuffer>> {
    checkFields(options, ["seed", "model", "draws"], "sample");
    const draws = checkInteger(options.draws ?? 1, 1, 1 << 24, "draws");
    const seed = checkSeed(options.seed ?? BigInt(this.header.seed));
    const library = await openLibrary();
    const stages = packStages(sampler);
    const { steps } = this.header;
    const tokens = new Uint32Array(steps * draws);
    const index = this.#index ??= this.#newIndex(library);
    const packed = this.#pack({
      stages,
      seed,
      draws,
      rows: steps,
      skip: 0,
      model: options.model,
      index: index.length,
      tokens: tokens.length,
    });
    const { vitrine_tape_draw } = library.calls;
    const rows = this.#rows;
    const draw = () => vitrine_tape_draw(packed, stages, rows, rows.length, index, tokens);
    drawing(library, sampler, seed, this.header.vocabulary, draw);
    return tokens;
  }

  /**
   * The distribution that a chain leaves of a step, behind the recorded text.
   *
   * @param sampler The stages, in order.
   * @param step From 0.
   * @param options A model, for stages that must know the texts of tokens.
   * @returns Probabilities of `row(step).tokens`; exactly 0 for those that are not left.
   */
  async distribution(
    sampler: readonly SamplerStage[],
    step: number,
    options: { readonly model?: Model | undefined } = {},
  ): Promise<Float32Array<ArrayBuffer>> {
    checkFields(options, ["model"], "distribution");
    this.#row(step);
    return await this.#distributions(sampler, step, step + 1, {
      model: options.model,
      seed: BigInt(this.header.seed),
    });
  }

  /** Those of the steps in a range: [steps][header.count]. */
  async #distributions(
    sampler: readonly SamplerStage[],
    from: number,
    to: number,
    { model, seed }: { readonly model: Model | undefined; readonly seed: bigint },
  ): Promise<Float32Array<ArrayBuffer>> {
    const library = await openLibrary();
    const stages = packStages(sampler);
    const rows = this.#rows.subarray(0, to * rowBytes(this.header));
    const out = new Float32Array((to - from) * this.header.count);
    const { vitrine_tape_distribution } = library.calls;
    const packed = this.#pack({ stages, seed, draws: 1, rows: to, skip: from, model });
    const draw = () =>
      vitrine_tape_distribution(packed, stages, rows, rows.length, out, out.length);
    drawing(library, sampler, seed, this.header.vocabulary, draw);
    return out;
  }

  /**
   * Draws again with the recorded chain and seed. With all logits in 32 bits each token comes again; rounding
   * or leaving logits out may change some. Stages with a state of their own in JavaScript begin with the one
   * that the generation left.
   *
   * @param options A model, for stages that must know the texts of tokens.
   * @throws {TypeError} When a tape of a file was recorded with a stage that is a function: give the same
   *   stages to `counterfactual`.
   * @throws {EngineError} `"stage-failed"` with `guidance` or `contrastiveSearch`: what another session or
   *   another pass said isn't on the tape.
   */
  async replay(
    options: { readonly model?: Model | undefined } = {},
  ): Promise<TapeComparison> {
    checkFields(options, ["model"], "replay");
    return await this.counterfactual(this.#sampler ?? this.#parsed(), options);
  }

  #parsed(): SamplerStage[] {
    const { sampler } = this.header;
    try {
      return parseSampler(sampler);
    } catch (cause) {
      throw new TypeError(
        `Expected a tape whose chain its notation says whole, but found ${
          found(sampler)
        }; give its stages ` +
          "to counterfactual",
        { cause },
      );
    }
  }

  /**
   * What another chain would have chosen from the same logits with the same random numbers.
   *
   * @param sampler The stages, in order.
   * @param options The seed, by default the recorded one, and a model, for stages that must know the texts
   *   of tokens.
   */
  async counterfactual(
    sampler: readonly SamplerStage[],
    options: TapeSampleOptions = {},
  ): Promise<TapeComparison> {
    checkFields(options, ["seed", "model"], "counterfactual");
    const tokens = await this.sample(sampler, options);
    const [recorded, positions] = [this.tokens, this.positions];
    const differences: TapeDifference[] = [];
    for (const [step, chosen] of tokens.entries()) {
      if (chosen === recorded[step]) continue;
      differences.push({ step, position: positions[step]!, recorded: recorded[step]!, chosen });
    }
    return { tokens, differences };
  }

  /**
   * What becomes of a chain in every order of its stages.
   *
   * @param sampler From 1 to 6 stages.
   * @param options The seed, by default the recorded one, and a model, for stages that must know the texts
   *   of tokens.
   * @returns One result for each order, the given one first: 6 for 3 stages, 720 for 6.
   */
  async orderAblation(
    sampler: readonly SamplerStage[],
    options: TapeSampleOptions = {},
  ): Promise<OrderResult[]> {
    checkFields(options, ["seed", "model"], "orderAblation");
    packStages(sampler); // Refuses what is no chain.
    checkInteger(sampler.length, 1, orderMax, "the number of stages");
    const { steps, count } = this.header;
    const settings = {
      model: options.model,
      seed: checkSeed(options.seed ?? BigInt(this.header.seed)),
    };
    const orders = [...permutations(sampler)].map((order) => ({
      order,
      candidates: 0,
      entropy: 0,
      distance: 0,
      distanceMax: 0,
    }));
    const piece = Math.max(1, Math.floor(distributionsMax / count));
    for (let from = 0; from < steps; from += piece) {
      const to = Math.min(steps, from + piece);
      let first: Float32Array<ArrayBuffer> | undefined;
      for (const sums of orders) {
        const shares = await this.#distributions(sums.order, from, to, settings);
        first ??= shares;
        for (let at = 0; at < shares.length; at += count) {
          const [own, other] = [shares, first].map((all) => all.subarray(at, at + count));
          const { candidates, entropy, distance } = measure(own!, other!);
          sums.candidates += candidates / steps;
          sums.entropy += entropy / steps;
          sums.distance += distance / steps;
          sums.distanceMax = Math.max(sums.distanceMax, distance);
        }
      }
    }
    const results: OrderResult[] = [];
    for (const { order, ...means } of orders) {
      const tokens = await this.sample(order, options);
      const base = results[0]?.tokens ?? tokens;
      const differs = tokens.reduce((sum, token, i) => sum + Number(token !== base[i]), 0);
      results.push({ sampler: order, notation: formatSampler(order), tokens, differs, ...means });
    }
    return results;
  }

  /**
   * Writes the tape to a file, which appears under its name when it is whole.
   *
   * @param path Of the file; one of that name is replaced.
   * @throws {EngineError} `"input-output"` when it can't be written.
   */
  save(path: string): void {
    const text = JSON.stringify(this.header);
    // Spaces behind it, so that floats can be read where they are.
    const { length } = new TextEncoder().encode(text);
    const json = new TextEncoder().encode(text + " ".repeat(-length & 3));
    const bytes = new Uint8Array(preambleBytes + json.length + this.#rows.length);
    const view = new DataView(bytes.buffer);
    bytes.set(new TextEncoder().encode(magic));
    view.setUint32(8, version, true);
    view.setUint32(12, json.length, true);
    view.setUint32(16, this.#rows.length, true);
    bytes.set(json, preambleBytes);
    bytes.set(this.#rows, preambleBytes + json.length);
    view.setUint32(20, xxHash32(bytes.subarray(preambleBytes)), true);
    const temporary = `${path}.${crypto.randomUUID()}.part`;
    try {
      const descriptor = openSync(temporary, "wx");
      try {
        for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
      renameSync(temporary, path);
    } catch (cause) {
      rmSync(temporary, { force: true });
      throw new EngineError("input-output", `${path}: ${(cause as Error).message}`, { cause });
    }
  }

  #row(step: number): Uint8Array<ArrayBuffer> {
    checkInteger(step, 0, Math.max(0, this.steps - 1), "step");
    if (this.steps === 0) throw new RangeError("Expected a tape with steps, but found none");
    const bytes = rowBytes(this.header);
    return this.#rows.subarray(step * bytes, (step + 1) * bytes);
  }

  #words(offset: number): Uint32Array<ArrayBuffer> {
    const view = new DataView(this.#rows.buffer, this.#rows.byteOffset, this.#rows.length);
    const bytes = rowBytes(this.header);
    return Uint32Array.from(
      { length: this.steps },
      (_, step) => view.getUint32(step * bytes + offset, true),
    );
  }

  /** Of all rows; empty where rows have few logits. */
  #newIndex(library: Library): Uint8Array<ArrayBuffer> {
    const stages = new Uint8Array();
    const { steps } = this.header;
    const shape = { stages, seed: 0n, draws: 1, rows: steps, skip: 0, model: undefined };
    const length = new Uint32Array(1);
    drawing(
      library,
      [],
      0n,
      0,
      () => library.calls.vitrine_tape_index_length(this.#pack(shape), length),
    );
    return new Uint8Array(length[0]!);
  }

  #pack(given: {
    readonly stages: Uint8Array;
    readonly seed: bigint;
    readonly draws: number;
    readonly rows: number;
    readonly skip: number;
    readonly model: Model | undefined;
    readonly index?: number;
    readonly tokens?: number;
  }): Uint8Array<ArrayBuffer> {
    const at = TapeDrawLayout;
    const { vocabulary, kind, count, history } = this.header;
    const { stages, seed, draws, rows, skip, model, index = 0, tokens = 0 } = given;
    const view = new DataView(new ArrayBuffer(at.bytes + 4 * history.length));
    if (model !== undefined && model.info.logits !== vocabulary) {
      throw new RangeError(
        `Expected a model with ${vocabulary} logits, but found one with ${model.info.logits}`,
      );
    }
    const fields: readonly (readonly [number, number])[] = [
      [at.size, at.bytes],
      [at.version, 1],
      [at.seed_low, Number(seed & 0xffff_ffffn)],
      [at.seed_high, Number(seed >> 32n)],
      [at.stage_count, stages.length / StageLayout.bytes],
      [at.vocabulary, vocabulary],
      [at.kind, TapeKind[kind]],
      [at.count, count],
      [at.draws, draws],
      [at.rows, rows],
      [at.skip, skip],
      [at.history_count, history.length],
      [at.model, handleOf(model)],
      [at.index_length, index],
      [at.token_count, tokens],
    ];
    for (const [offset, value] of fields) view.setUint32(offset, value, true);
    new Uint32Array(view.buffer, at.bytes).set(history);
    return new Uint8Array(view.buffer);
  }
}

/** Tokens left, entropy in nats, and the total variation distance from another distribution. */
function measure(
  shares: Float32Array,
  other: Float32Array,
): { candidates: number; entropy: number; distance: number } {
  let [candidates, entropy, apart] = [0, 0, 0];
  for (let i = 0; i < shares.length; i++) {
    const p = shares[i]!;
    if (p > 0) {
      candidates += 1;
      entropy -= p * Math.log(p);
    }
    apart += Math.abs(p - other[i]!);
  }
  return { candidates, entropy, distance: apart / 2 };
}

/** Bytes of the logits of one step, with their head. */
function rowBytes({ kind, count }: Pick<TapeHeader, "kind" | "count">): number {
  const logits = kind === "top" ? 8 * count : kind === "f16" ? 4 * Math.ceil(count / 2) : 4 * count;
  return headBytes + logits;
}

/**
 * Opens a file that `LogitTape.save` wrote.
 *
 * @param path Of the file.
 * @throws {EngineError} `"file-not-found"`, or `"invalid-file"` when the file is damaged or something else.
 */
export function readTape(path: string): LogitTape {
  const refuse = (expected: string, was: string, cause?: unknown) =>
    new EngineError("invalid-file", `${path}: Expected ${expected}, but found ${was}`, { cause });
  const bytes = readWhole(path);
  if (new TextDecoder().decode(bytes.subarray(0, magic.length)) !== magic) {
    throw refuse("a logit tape", "another kind of file");
  }
  if (bytes.length < preambleBytes) {
    throw refuse(`a preamble of ${preambleBytes} bytes`, `${bytes.length}`);
  }
  const word = (at: number) => new DataView(bytes.buffer).getUint32(at, true);
  if (word(8) !== version) throw refuse(`version ${version} of logit tapes`, `${word(8)}`);
  const size = preambleBytes + word(12) + word(16);
  if (size !== bytes.length) throw refuse(`a file of ${size} bytes`, `${bytes.length}`);
  const sum = xxHash32(bytes.subarray(preambleBytes));
  if (sum !== word(20)) throw refuse("a tape that agrees with its checksum", "a damaged one");
  const rows = bytes.subarray(preambleBytes + word(12));
  let header: TapeHeader;
  try {
    const json = bytes.subarray(preambleBytes, preambleBytes + word(12));
    header = checkedHeader(JSON.parse(new TextDecoder().decode(json)));
  } catch (cause) {
    throw refuse("a header that says what the tape is of", (cause as Error).message, cause);
  }
  const expected = header.steps * rowBytes(header);
  if (rows.length !== expected) throw refuse(`${expected} bytes of logits`, `${rows.length}`);
  return new LogitTape(header, rows);
}

function readWhole(path: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (cause) {
    const missing = (cause as { code?: string }).code === "ENOENT";
    throw new EngineError(
      missing ? "file-not-found" : "input-output",
      `${path}: Expected a logit tape, but found ${missing ? "no file" : (cause as Error).message}`,
      { cause },
    );
  }
}

function checkedHeader(given: TapeHeader): TapeHeader {
  const known = ["model", "identity", "vocabulary", "kind", "count", "steps", "seed", "sampler"];
  checkFields(given, [...known, "history"], "a tape's header");
  // Files of before stages looked at the text have none.
  const header = { ...given, history: given.history ?? [] };
  for (const field of ["model", "identity", "seed"] as const) {
    if (typeof header[field] !== "string") throw new TypeError(`${field} ${found(header[field])}`);
  }
  if (!Object.hasOwn(TapeKind, header.kind)) throw new RangeError(`kind ${found(header.kind)}`);
  checkInteger(header.vocabulary, 1, 1 << 24, "vocabulary");
  const least = header.kind === "top" ? 1 : header.vocabulary;
  checkInteger(header.count, least, header.vocabulary, "count");
  checkInteger(header.steps, 0, 1 << 24, "steps");
  checkSeed(BigInt(header.seed));
  checkTokens(header.history, header.vocabulary, "history");
  if (typeof header.sampler !== "string") throw new TypeError(`sampler ${found(header.sampler)}`);
  return header;
}
