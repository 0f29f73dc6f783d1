/**
 * The short notation of sampler chains: stages in order, separated by commas, each its name and its
 * values, as in `temp=0.8,top-p=0.9`. Names are those of the engine with dashes. What a stage has
 * beside numbers stands behind them as JSON, as in `logit-bias=[[13,-2],[2,false]]`.
 *
 * @module
 */
import { adaptiveP } from "../adaptive_p.ts";
import { dry } from "../dry.ts";
import { contrastiveSearch } from "../contrastive_search.ts";
import { dynamicTemperature } from "../dynamic_temperature.ts";
import { epsilonCutoff } from "../epsilon_cutoff.ts";
import { etaCutoff } from "../eta_cutoff.ts";
import { frequencyPenalty } from "../frequency_penalty.ts";
import { grammar } from "../grammar.ts";
import { greedy } from "../greedy.ts";
import { logitBias } from "../logit_bias.ts";
import { minK } from "../min_k.ts";
import { minP } from "../min_p.ts";
import { mirostat } from "../mirostat.ts";
import { mirostatV2 } from "../mirostat_v2.ts";
import { noRepeatNgram } from "../no_repeat_ngram.ts";
import { pLess } from "../p_less.ts";
import { presencePenalty } from "../presence_penalty.ts";
import { repetitionPenalty } from "../repetition_penalty.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import type { StageData } from "../stage_data.ts";
import { tailFree } from "../tail_free.ts";
import { temperature } from "../temperature.ts";
import { topA } from "../top_a.ts";
import { topK } from "../top_k.ts";
import { topNSigma } from "../top_n_sigma.ts";
import { topP } from "../top_p.ts";
import { typical } from "../typical.ts";
import { xtc } from "../xtc.ts";

/** A stage in the notation. */
export interface StageNotation {
  /** How many values it takes at least, and at most. */
  readonly values: readonly [least: number, most: number];
  readonly make: (values: readonly number[], data?: StageData) => SamplerStage;
  /** Whether it has data: never by default. */
  readonly data?: "always" | "maybe";
  /** Its values, for people. */
  readonly help: string;
}

/** A stage whose constructor takes numbers. */
function numbers(
  make: (...values: number[]) => SamplerStage,
  least: number,
  help: string,
): StageNotation {
  const most = help === "" ? 0 : help.split(":").length;
  return { values: [least, most], make: (values) => make(...values), help };
}

/** Every stage, by its name in the notation. */
export const notation: Readonly<Record<string, StageNotation>> = {
  greedy: numbers(greedy, 0, ""),
  temperature: numbers(temperature, 1, "T"),
  "top-k": numbers(topK, 1, "K"),
  "top-p": numbers(topP, 1, "P"),
  "min-p": numbers(minP, 1, "P"),
  typical: numbers(typical, 1, "P"),
  "top-n-sigma": numbers(topNSigma, 1, "N"),
  "epsilon-cutoff": numbers(epsilonCutoff, 1, "EPSILON"),
  "eta-cutoff": numbers(etaCutoff, 1, "EPSILON"),
  "tail-free": numbers(tailFree, 1, "Z"),
  "top-a": numbers(topA, 1, "A"),
  "dynamic-temperature": numbers(dynamicTemperature, 2, "LOW:HIGH:EXPONENT"),
  "p-less": { values: [0, 1], make: relaxable, help: "RELAXED" },
  "min-k": numbers(minK, 0, "TAU"),
  "contrastive-search": numbers(
    (alpha, k) => contrastiveSearch({ alpha, k }),
    0,
    "ALPHA:K",
  ),
  xtc: numbers(xtc, 0, "PROBABILITY:THRESHOLD"),
  "repetition-penalty": numbers(repetitionPenalty, 0, "PENALTY:LAST-N"),
  "presence-penalty": numbers(presencePenalty, 1, "PENALTY:LAST-N"),
  "frequency-penalty": numbers(frequencyPenalty, 1, "PENALTY:LAST-N"),
  "no-repeat-ngram": numbers(noRepeatNgram, 0, "N"),
  "logit-bias": {
    values: [0, 0],
    make: (_, data) => logitBias(data as Parameters<typeof logitBias>[0]),
    data: "always",
    help: "[[TOKEN,BIAS],…]",
  },
  dry: {
    values: [0, 4],
    make: ([multiplier, base, allowedLength, lastN], data) =>
      dry({ multiplier, base, allowedLength, lastN, breakers: data as string[] | undefined }),
    data: "maybe",
    help: 'MULTIPLIER:BASE:ALLOWED-LENGTH:LAST-N:["BREAKER",…]',
  },
  mirostat: numbers(mirostat, 0, "TAU:ETA:MU:M"),
  "mirostat-v2": numbers(mirostatV2, 0, "TAU:ETA:MU"),
  "adaptive-p": numbers(adaptiveP, 1, "TARGET:DECAY"),
  grammar: {
    values: [0, 0],
    make: (_, data) => grammar(data as string),
    data: "always",
    help: "GBNF as a JSON string",
  },
};

function relaxable(values: readonly number[]): SamplerStage {
  if (values[0] === undefined || values[0] === 0) return pLess();
  if (values[0] === 1) return pLess(true);
  throw new RangeError(`Expected the relaxed of p-less to be 0 or 1, but found ${values[0]}`);
}

/** Other names that people use. */
export const aliases: Readonly<Record<string, string>> = {
  temp: "temperature",
  dynatemp: "dynamic-temperature",
  "typ-p": "typical",
  tfs: "tail-free",
  "repeat-penalty": "repetition-penalty",
};
