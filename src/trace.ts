/**
 * The candidates at one place of a chain: before its first stage, or behind one. One value a step, unless
 * it says otherwise. Mass and threshold are in the model's own distribution whatever the temperature, so
 * that places can be compared.
 */
export interface TracePlace {
  /** How many tokens there are. */
  readonly candidates: Uint32Array<ArrayBuffer>;
  /** The share of the model's own distribution that they have, from 0 to 1. */
  readonly mass: Float32Array<ArrayBuffer>;
  /** Entropy of their distribution in nats, at the temperature in force. */
  readonly entropy: Float32Array<ArrayBuffer>;
  /** Natural logarithm of the least probable one's probability in the model's own distribution. */
  readonly threshold: Float32Array<ArrayBuffer>;
  /** The temperature in force: the product of all so far. */
  readonly temperature: Float32Array<ArrayBuffer>;
  /** The most probable tokens, best first: [steps][depth]; 0xffffffff where there are fewer. */
  readonly topTokens: Uint32Array<ArrayBuffer>;
  /** Their logits, divided by the temperature: [steps][depth]; -Infinity where there are fewer. */
  readonly topLogits: Float32Array<ArrayBuffer>;
  /** Their probabilities among the candidates: [steps][depth]; 0 where there are fewer. */
  readonly topProbabilities: Float32Array<ArrayBuffer>;
}

/** What one stage did. */
export interface TraceStage {
  /** The stage in the notation of `parseSampler`, such as `top-p=0.9`. */
  readonly name: string;
  /** What it received. */
  readonly received: TracePlace;
  /** What it left. */
  readonly left: TracePlace;
  /** A number that the stage says of itself at each step; NaN for a stage that says none. */
  readonly state: Float32Array<ArrayBuffer>;
  /** A number that the stage says of the token that was drawn; NaN for a stage that says none. */
  readonly outcome: Float32Array<ArrayBuffer>;
  /** Time that it took, in nanoseconds. */
  readonly nanoseconds: Float32Array<ArrayBuffer>;
}

/** The columns of a trace that have one value a step. */
export interface TraceSteps {
  /** The token's place in the sequence. */
  readonly position: Uint32Array<ArrayBuffer>;
  /** The token that was drawn. */
  readonly token: Uint32Array<ArrayBuffer>;
  /** How many tokens the model found more probable. */
  readonly rank: Uint32Array<ArrayBuffer>;
  /** Natural logarithm of its probability in the model's own distribution. */
  readonly logprob: Float32Array<ArrayBuffer>;
  /** Its probability in the distribution that it was drawn from. */
  readonly probability: Float32Array<ArrayBuffer>;
}

/**
 * What every stage of a sampler chain received and left, step by step, in columns: typed arrays with one
 * value a step. `Session.generate` records one with `trace`.
 *
 * @example
 * ```ts
 * import { loadModel, temperature, topP } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const generation = session.generate("The best thing about the sea is", {
 *   sampler: [temperature(0.8), topP(0.9)],
 *   seed: 7,
 *   maxTokens: 8,
 *   trace: { candidates: 5 },
 * });
 * await generation.text();
 * const { trace } = generation;
 * if (trace !== undefined) {
 *   console.log(trace.token, trace.rank, trace.model.entropy);
 *   for (const { name, received, left } of trace.stages) {
 *     console.log(name, received.entropy, left.entropy, left.candidates, left.mass);
 *   }
 * }
 * ```
 */
export class Trace implements TraceSteps {
  /** Steps that are recorded. */
  readonly steps: number;
  /** Later steps for which there was no room. */
  readonly dropped: number;
  /** The most probable candidates that are recorded of each place. */
  readonly depth: number;
  /** The model's own distribution, before the first stage. */
  readonly model: TracePlace;
  /** The stages, in the order in which they were applied. */
  readonly stages: readonly TraceStage[];
  readonly position: Uint32Array<ArrayBuffer>;
  readonly token: Uint32Array<ArrayBuffer>;
  readonly rank: Uint32Array<ArrayBuffer>;
  readonly logprob: Float32Array<ArrayBuffer>;
  readonly probability: Float32Array<ArrayBuffer>;

  /** Only generations make these. */
  constructor(
    size: { readonly steps: number; readonly dropped: number; readonly depth: number },
    columns: TraceSteps,
    model: TracePlace,
    stages: readonly TraceStage[],
  ) {
    this.steps = size.steps;
    this.dropped = size.dropped;
    this.depth = size.depth;
    this.position = columns.position;
    this.token = columns.token;
    this.rank = columns.rank;
    this.logprob = columns.logprob;
    this.probability = columns.probability;
    this.model = model;
    this.stages = stages;
  }

  /** Plain arrays, for `JSON.stringify`; what is no finite number becomes null there. */
  toJSON(): unknown {
    const { steps, dropped, depth, position, token, rank, logprob, probability } = this;
    return {
      steps,
      dropped,
      depth,
      ...plain({ position, token, rank, logprob, probability }),
      model: plain(this.model),
      stages: this.stages.map(({ name, left, state, outcome, nanoseconds }) => ({
        name,
        ...plain({ state, outcome, nanoseconds }),
        left: plain(left),
      })),
    };
  }
}

function plain(columns: object): Record<string, number[]> {
  const entries = Object.entries(columns as Record<string, ArrayLike<number>>);
  return Object.fromEntries(entries.map(([name, values]) => [name, Array.from(values)]));
}
