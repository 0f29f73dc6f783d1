import { storeOf } from "./internal/kv_windows.ts";
import { checkComparison, type ComparedCache } from "./internal/kv_comparison_options.ts";
import { type Distribution, Side } from "./internal/kv_comparison_side.ts";
import { checkTokens } from "./internal/check.ts";
import { EngineError } from "./engine_error.ts";
import type { KvFormat } from "./kv_format.ts";
import type { KvPolicy } from "./kv_policy.ts";
import type { KvSimulation } from "./kv_simulation.ts";
import type { Model } from "./model.ts";
import type { Session } from "./session.ts";

/** What `compareKv` compares, and how. */
export interface CompareKvOptions {
  /** What the candidates are measured against; by default keys and values in `"f32"`. */
  readonly reference?: KvPolicy | undefined;
  /** At least one: real caches, or simulated ones, which are stored in `"f32"`. */
  readonly candidates: readonly (KvPolicy | { readonly simulate: KvSimulation })[];
  /**
   * Tokens that are read one after the other with the cache of those before them; by default the
   * model's context, at most 512. A longer text is read in pieces of so many, each on its own.
   */
  readonly context?: number | undefined;
  /**
   * Tokens that each cache decodes at the end, at the depth of the last piece, to measure its speed;
   * 16 by default, 0 leaves it out.
   */
  readonly speedTokens?: number | undefined;
  /** Whether the error of attention's output is measured; true by default. */
  readonly attentionError?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told how many tokens of the text have been compared. */
  readonly onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** What `compareKv` found. */
export interface KvComparison {
  /** Tokens of the text, and how many of them were predicted: all but the first of each piece. */
  readonly tokens: number;
  readonly predicted: number;
  /** Tokens in a piece. */
  readonly context: number;
  readonly reference: KvMeasure;
  readonly candidates: readonly KvCandidate[];
}

/** What is measured of every cache. */
export interface KvMeasure {
  /** What the cache was, with the defaults of a real one filled in. */
  readonly policy: KvPolicy | KvSimulation;
  /** Format of the keys, and of the values; `"mixed"` when they have several. */
  readonly key: KvFormat | "mixed" | "simulated";
  readonly value: KvFormat | "mixed" | "simulated";
  /** exp of the mean negative log-likelihood of the predicted tokens. */
  readonly perplexity: number;
  /** Memory that the session's cache took, in bytes; what a simulated one would take. */
  readonly bytes: number;
  /**
   * Bits of a stored number behind the first piece of the text, over keys and values, with scales and with the
   * tokens at full precision; NaN where a function decides.
   */
  readonly bitsPerValue: number;
  /** Decoded tokens per second at `depth`; NaN when it wasn't measured, or the cache is simulated. */
  readonly tokensPerSecond: number;
  /** Tokens in the cache when the speed was measured. */
  readonly depth: number;
}

/** A cache beside the reference. */
export interface KvCandidate extends KvMeasure {
  /**
   * Kullback-Leibler divergence of the candidate's next-token distribution from the reference's, in
   * nats a token.
   */
  readonly kl: { readonly mean: number; readonly p99: number; readonly max: number };
  /** Share of the tokens, from 0 to 1, at which both find the same token most probable. */
  readonly sameTop: number;
  /**
   * One row a layer: ‖candidate - reference‖ / ‖reference‖ of what the caches hold of the last piece, and
   * of what attention made of it: what all heads found (the point `blocks.N.z`), before their output
   * matrix. It has the rounding of the format and what the layers before made of theirs.
   * `attentionError` is NaN where it wasn't asked for.
   */
  readonly layers: readonly {
    readonly keyError: number;
    readonly valueError: number;
    readonly attentionError: number;
  }[];
}

/**
 * Measures what a narrower KV cache costs: all caches read the same text, and their predictions are
 * compared token by token with those of the reference. Nothing is written anywhere.
 *
 * Kullback-Leibler divergence and the share of equal best tokens come first: perplexity is about one
 * token of each distribution, so that errors can cancel in it. Load the model with `precision:
 * "float"` when differences are small: where activations are rounded to 8 bits, a little more or less
 * of a key now and then rounds one of them to the next step.
 *
 * @param model The model; it may do other work at the same time, which the speed then shows.
 * @param text Text, or ids of tokens; at least two tokens.
 * @param options The caches.
 * @throws {RangeError} When the text is too short or the context too long.
 * @throws {EngineError} `numeric` when logits are no numbers.
 *
 * @example
 * ```ts
 * import { compareKv, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * const text = "It was the best of times, it was the worst of times, it was the age of wisdom.";
 * const { candidates } = await compareKv(model, text, {
 *   reference: { key: "f32", value: "f32" },
 *   candidates: [{ key: "q8_0", value: "q8_0" }, { key: "f8_e4m3", value: "f16" }],
 * });
 * for (const { key, value, kl, sameTop, bitsPerValue } of candidates) {
 *   console.log(key, value, kl.mean, sameTop, bitsPerValue);
 * }
 * ```
 */
export async function compareKv(
  model: Model,
  text: string | readonly number[] | Uint32Array,
  options: CompareKvOptions,
): Promise<KvComparison> {
  const settings = checkComparison(model, options);
  const tokens = tokensOf(model, text);
  if (tokens.length < 2) {
    throw new RangeError(`Expected a text of at least two tokens, but found ${tokens.length}`);
  }
  const context = Math.min(settings.context, tokens.length);
  using sides = new DisposableStack();
  const open = (cache: ComparedCache): Side => {
    const kv = cache.policy ?? storeOf(cache.simulation);
    const session = sides.use(model.session({ context: context + settings.speedTokens, kv }));
    return new Side(session, model.info, cache.simulation);
  };
  const reference = open(settings.reference);
  const candidates = settings.candidates.map(open);
  const all = [reference, ...candidates];

  // So many rows of logits that they stay in the processor's cache or near it; simulated groups of
  // tokens shall be whole.
  const simulates = all.some((side) => side.simulates);
  const rows = simulates
    ? 64
    : Math.max(1, Math.min(64, Math.floor((1 << 21) / model.info.logits)));
  let [done, predicted] = [0, 0];
  for (let begin = 0; begin < tokens.length; begin += context) {
    const piece = tokens.subarray(begin, begin + context);
    if (piece.length < 2) break;
    for (const side of all) side.session.truncate(0);
    // The last piece is what the caches hold afterwards; a rest of one token is no piece.
    const isLast = tokens.length - (begin + context) < 2;
    if (isLast && settings.attentionError) { for (const side of all) side.record(); }
    for (let from = 0; from < piece.length; from += rows) {
      const part = piece.slice(from, from + rows);
      settings.signal?.throwIfAborted();
      // Together, so that the weights are read once for all of them.
      const { signal } = settings;
      await Promise.all(
        all.map((side) => side.session.prefill(part, { allLogits: true, signal })),
      );
      for (let row = 0; row < part.length; row++) {
        compareRow(reference, candidates, row, piece[from + row + 1]);
      }
      for (const side of candidates) side.compareAttention(reference);
      for (const side of all) side.forget();
      done += part.length;
      settings.onProgress?.({ done, total: tokens.length });
    }
    predicted += piece.length - 1;
    // No piece is longer than the first one.
    if (begin === 0) { for (const side of all) side.weigh(); }
  }
  for (const side of candidates) side.compareLayers(reference);
  const depth = reference.session.position;
  await measureSpeed(all, settings.speedTokens, settings.signal);
  return {
    tokens: done,
    predicted,
    context,
    reference: reference.measure(depth),
    candidates: candidates.map((side) => ({ ...side.measure(depth), ...side.comparison() })),
  };
}

function tokensOf(model: Model, text: string | readonly number[] | Uint32Array): Uint32Array {
  if (typeof text === "string") return model.tokenize(text, { parseSpecial: false });
  return checkTokens(text, model.info.vocabulary, "text");
}

/** One position: the distributions, and how probable the token behind it was, if there is one. */
function compareRow(
  reference: Side,
  candidates: readonly Side[],
  row: number,
  next: number | undefined,
): void {
  const expected = distributionOf(reference, row);
  reference.score(expected, next);
  for (const side of candidates) {
    const found = distributionOf(side, row);
    side.score(found, next);
    side.compare(expected, found);
  }
}

function distributionOf(side: Side, row: number): Distribution {
  const found = side.distribution(row);
  if (Number.isFinite(found.logMass)) return found;
  const { keyFormat, valueFormat } = side.session.kv;
  const cache = side.simulates
    ? "a simulated cache"
    : `keys in ${keyFormat} and values in ${valueFormat}`;
  throw new EngineError(
    "numeric",
    `Expected logits that are numbers with ${cache}, but found others`,
  );
}

/** Decodes in turn, a token each, so that what slows the machine slows all of them. */
async function measureSpeed(
  sides: readonly Side[],
  count: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    for (const { session, times, simulates } of sides) {
      if (simulates) continue;
      const begun = performance.now();
      await decode(session, signal);
      times.push(performance.now() - begun);
    }
  }
}

async function decode(session: Session, signal: AbortSignal | undefined): Promise<void> {
  await session.prefill([session.tokens[session.position - 1] as number], { signal });
}
