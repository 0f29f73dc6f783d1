/**
 * Calls a sampler stage that is a function, with candidates as arrays.
 *
 * @module
 */
import type { StageCandidates } from "../custom_stage.ts";
import { EngineError } from "../engine_error.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import { found } from "./check.ts";

/** What random numbers of a stage are keyed by. */
export interface StageKey {
  readonly seed: bigint;
  readonly sequence: number;
  readonly position: number;
}

/** The logits that stage `number` of a chain leaves of these, in place; it sees those above -Infinity. */
export function callStage(
  stage: SamplerStage,
  number: number,
  key: StageKey,
  ids: Uint32Array<ArrayBuffer>,
  logits: Float32Array<ArrayBuffer>,
  readHistory: () => Uint32Array<ArrayBuffer>,
): void {
  if (!logits.includes(-Infinity)) return callWith(stage, number, key, ids, logits, readHistory);
  // A bias or a rule about the text has taken tokens out, in their places.
  const [leftIds, left] = [ids.slice(), logits.slice()];
  let count = 0;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] === -Infinity) continue;
    leftIds[count] = ids[i]!;
    left[count++] = logits[i]!;
  }
  const seen = left.subarray(0, count);
  callWith(stage, number, key, leftIds.subarray(0, count), seen, readHistory);
  let at = 0;
  for (let i = 0; i < logits.length; i++) if (logits[i] !== -Infinity) logits[i] = seen[at++]!;
}

function callWith(
  stage: SamplerStage,
  number: number,
  key: StageKey,
  ids: Uint32Array<ArrayBuffer>,
  logits: Float32Array<ArrayBuffer>,
  readHistory: () => Uint32Array<ArrayBuffer>,
): void {
  const fail = (text: string, cause?: unknown) =>
    new EngineError("stage-failed", `sampler stage ${number} (${stage.name}): ${text}`, { cause });
  let returned: unknown;
  const candidates = new Candidates(key, ids, logits, readHistory);
  try {
    returned = stage.apply?.(candidates);
  } catch (cause) {
    throw fail(cause instanceof Error ? cause.message : String(cause), cause);
  } finally {
    candidates.end();
  }
  if (returned instanceof Float32Array && returned !== logits) {
    if (returned.length !== logits.length) {
      throw fail(`Expected ${logits.length} logits, but found ${returned.length}`);
    }
    logits.set(returned);
  } else if (returned !== undefined && returned !== logits) {
    const what = returned instanceof Promise ? "a Promise" : found(returned);
    throw fail(`Expected nothing or a Float32Array to be returned at once, but found ${what}`);
  }
  let left = false;
  for (const [i, logit] of logits.entries()) {
    if (!(logit < Infinity)) {
      throw fail(
        `Expected logits below Infinity that are numbers, but found ${logit} for token ${ids[i]}`,
      );
    }
    left ||= logit > -Infinity;
  }
  if (!left) throw fail("Expected at least one token with a logit above -Infinity, but found none");
}

class Candidates implements StageCandidates {
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly logits: Float32Array<ArrayBuffer>;
  readonly seed: bigint;
  readonly sequence: number;
  readonly position: number;
  #probabilities: Float32Array<ArrayBuffer> | undefined;
  #history: Uint32Array<ArrayBuffer> | undefined;
  #readHistory: (() => Uint32Array<ArrayBuffer>) | undefined;

  constructor(
    key: StageKey,
    ids: Uint32Array<ArrayBuffer>,
    logits: Float32Array<ArrayBuffer>,
    readHistory: () => Uint32Array<ArrayBuffer>,
  ) {
    this.ids = ids;
    this.logits = logits;
    this.seed = key.seed;
    this.sequence = key.sequence;
    this.position = key.position;
    this.#readHistory = readHistory;
  }

  get probabilities(): Float32Array<ArrayBuffer> {
    return this.#probabilities ??= softmax(this.logits);
  }

  get history(): Uint32Array<ArrayBuffer> {
    if (this.#history !== undefined) return this.#history;
    if (this.#readHistory === undefined) {
      throw new TypeError(
        "Expected history to be read while the stage runs, but found it has ended",
      );
    }
    return this.#history = this.#readHistory();
  }

  /** The engine goes on, and with it the text. */
  end(): void {
    this.#readHistory = undefined;
  }
}

function softmax(logits: Float32Array): Float32Array<ArrayBuffer> {
  let max = -Infinity;
  for (const x of logits) if (x > max) max = x;
  const shares = new Float32Array(logits.length);
  let sum = 0;
  for (let i = 0; i < shares.length; i++) sum += shares[i] = Math.exp(logits[i]! - max);
  for (let i = 0; i < shares.length; i++) shares[i] = shares[i]! / sum;
  return shares;
}
