/**
 * One of the caches that `compareKv` compares: its session, and what was found of it so far.
 *
 * @module
 */
import type { KvCandidate, KvMeasure } from "../compare_kv.ts";
import type { KvSimulation } from "../kv_simulation.ts";
import type { ModelInfo } from "../model_info.ts";
import type { Recording } from "../recording.ts";
import type { Session } from "../session.ts";
import { SimulationTable } from "./kv_simulation.ts";
import { cacheShapeOf } from "./kv_table.ts";

/** A row of logits as a distribution. */
export interface Distribution {
  readonly logits: Float32Array;
  /** exp(logit - highest) of each token. */
  readonly weights: Float64Array;
  /** Σ exp(logit - highest), and its logarithm plus the highest: what turns a logit into ln p. */
  readonly mass: number;
  readonly logMass: number;
  readonly highest: number;
  /** The most probable token, the lowest id among equals. */
  readonly top: number;
}

export class Side {
  readonly session: Session;
  /** Times of decoded tokens, in milliseconds. */
  readonly times: number[] = [];
  readonly #info: ModelInfo;
  /** Of the last distribution. */
  readonly #weights: Float64Array;
  readonly #simulation: KvSimulation | undefined;
  readonly #divergences: number[] = [];
  #errors: KvCandidate["layers"] = [];
  #recording: Recording | undefined;
  /** Of what attention found: squares of the differences and of the reference, by layer. */
  readonly #attention: { difference: number; size: number }[];
  #sameTop = 0;
  #nll = 0;
  #predicted = 0;
  #storedBits = NaN;
  /** Of the tokens at full precision, over all numbers. */
  #exactBits = NaN;

  constructor(session: Session, info: ModelInfo, simulation: KvSimulation | undefined) {
    this.session = session;
    this.#info = info;
    this.#weights = new Float64Array(info.logits);
    this.#simulation = simulation;
    this.#attention = Array.from({ length: info.layers }, () => ({ difference: 0, size: 0 }));
    // It ends with the session.
    if (simulation !== undefined) session.simulateKv(simulation);
  }

  /** Whether the cache isn't real. */
  get simulates(): boolean {
    return this.#simulation !== undefined;
  }

  /** The distribution behind a token of the last prefill; its weights are those until the next one. */
  distribution(row: number): Distribution {
    const logits = this.session.logits(row);
    let [highest, top] = [-Infinity, 0];
    for (let token = 0; token < logits.length; token++) {
      const logit = logits[token] as number;
      if (logit > highest) [highest, top] = [logit, token];
    }
    const weights = this.#weights;
    let mass = 0;
    for (let token = 0; token < logits.length; token++) {
      const weight = Math.exp((logits[token] as number) - highest);
      weights[token] = weight;
      mass += weight;
    }
    return { logits, weights, mass, logMass: highest + Math.log(mass), highest, top };
  }

  /** Takes note of how probable the token was that came next. */
  score({ logits, logMass }: Distribution, next: number | undefined): void {
    if (next === undefined) return;
    this.#nll += logMass - (logits[next] as number);
    this.#predicted++;
  }

  /** Takes note of how far `found` is from `expected`. */
  compare(expected: Distribution, found: Distribution): void {
    const length = expected.logits.length;
    // Σ p (ln p - ln q), with what all tokens have in common taken out of the sum.
    let sum = 0;
    for (let token = 0; token < length; token++) {
      const logit = expected.logits[token] as number;
      const weight = expected.weights[token] as number;
      if (weight > 0) sum += weight * (logit - (found.logits[token] as number));
    }
    const divergence = sum / expected.mass - expected.logMass + found.logMass;
    // It is never negative; its rounding may be.
    this.#divergences.push(Math.max(0, divergence));
    if (expected.top === found.top) this.#sameTop++;
  }

  /** Begins to keep what attention finds; it ends with the session. */
  record(): void {
    this.#recording = this.session.record(["blocks.*.z"]);
  }

  /** Forgets what was kept so far. */
  forget(): void {
    this.#recording?.clear();
  }

  /** Takes note of the error of what attention found since `forget`. */
  compareAttention(reference: Side): void {
    const [found, expected] = [this.#recording, reference.#recording];
    if (found === undefined || expected === undefined) return;
    for (const [layer, name] of found.names.entries()) {
      const { difference, size } = squares(found.get(name).values, expected.get(name).values);
      const sum = this.#attention[layer] as { difference: number; size: number };
      sum.difference += difference;
      sum.size += size;
    }
  }

  /** Takes note of the error of what the cache holds, layer by layer. */
  compareLayers(reference: Side): void {
    this.#errors = Array.from({ length: this.#info.layers }, (_, layer) => {
      const error = (which: "key" | "value") =>
        relative(squares(
          this.session.kv.read({ which, layer }),
          reference.session.kv.read({ which, layer }),
        ));
      return {
        keyError: error("key"),
        valueError: error("value"),
        attentionError: this.#recording === undefined
          ? NaN
          : relative(this.#attention[layer] as { difference: number; size: number }),
      };
    });
  }

  /** Takes note of the bits of the numbers that the cache holds now. */
  weigh(): void {
    const ledger = this.session.kv.ledger();
    const keys = ledger.keyPayload + ledger.keyScales;
    const values = ledger.valuePayload + ledger.valueScales;
    const [keyNumbers, valueNumbers] = [8 * keys / ledger.keyBits, 8 * values / ledger.valueBits];
    const numbers = keyNumbers + valueNumbers;
    const table = this.#simulation &&
      new SimulationTable(this.#simulation, cacheShapeOf(this.#info), "simulation");
    this.#storedBits = table === undefined
      ? 8 * (keys + values) / numbers
      : (keyNumbers * table.bits("key") + valueNumbers * table.bits("value")) / numbers;
    this.#exactBits = 8 * ledger.exact / numbers;
  }

  measure(depth: number): KvMeasure {
    const { policy, keyFormat: key, valueFormat: value, bytes, context } = this.session.kv;
    const bitsPerValue = this.#storedBits + this.#exactBits;
    const tokensPerSecond = this.times.length === 0 ? NaN : 1000 / quantile(this.times, 0.5);
    const perplexity = Math.exp(this.#nll / this.#predicted);
    const simulation = this.#simulation;
    if (simulation !== undefined) {
      const exactBytes = this.session.kv.exactBytes;
      return {
        policy: simulation,
        ...{ key: "simulated", value: "simulated", perplexity },
        bytes: (bytes - exactBytes) * this.#storedBits / 32 + exactBytes,
        bitsPerValue,
        tokensPerSecond,
        depth: Math.min(depth, context),
      };
    }
    return {
      policy,
      key,
      value,
      perplexity,
      bytes,
      bitsPerValue,
      tokensPerSecond,
      depth: Math.min(depth, context),
    };
  }

  comparison(): Pick<KvCandidate, "kl" | "sameTop" | "layers"> {
    const all = this.#divergences;
    return {
      kl: {
        mean: all.reduce((sum, kl) => sum + kl, 0) / all.length,
        p99: quantile(all, 0.99),
        max: quantile(all, 1),
      },
      sameTop: this.#sameTop / all.length,
      layers: this.#errors,
    };
  }
}

/** The smallest number that at least this share of the numbers doesn't exceed. */
function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

/** ‖found - expected‖² and ‖expected‖². */
function squares(
  found: Float32Array,
  expected: Float32Array,
): { difference: number; size: number } {
  let [difference, size] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    const x = expected[i] as number;
    difference += ((found[i] as number) - x) ** 2;
    size += x ** 2;
  }
  return { difference, size };
}

/** ‖found - expected‖ / ‖expected‖; 0 when both are 0. */
function relative({ difference, size }: { difference: number; size: number }): number {
  return difference === 0 ? 0 : Math.sqrt(difference / size);
}
