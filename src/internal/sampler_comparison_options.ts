/**
 * Checks what `compareSamplers` is asked for.
 *
 * @module
 */
import type { CompareSamplersOptions, SamplerChain } from "../compare_samplers.ts";
import type { Model } from "../model.ts";
import { parseSampler } from "../parse_sampler.ts";
import type { SamplerStage } from "../sampler_stage.ts";
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkFunction,
  checkInteger,
  checkNumber,
  checkSignal,
  found,
} from "./check.ts";
import { checkSeed, generationSettings } from "./generation_settings.ts";
import { samplerMeasures, type TextMeasure } from "./sampler_measures.ts";
import { bareTokens, joined, openingOf, type Text } from "./scored_text.ts";

/** A sampler with all settings that it may be tuned to; one when there is nothing to tune. */
export interface Contender {
  readonly name: string;
  readonly settings: readonly (readonly SamplerStage[])[];
}

/** With everything filled in. */
export interface SamplerComparisonSettings {
  readonly prompts: readonly Uint32Array[];
  readonly contenders: readonly Contender[];
  readonly measures: Readonly<Record<string, TextMeasure>>;
  readonly tune: {
    readonly prompts: readonly Uint32Array[];
    readonly measure: string;
    readonly goal: "least" | "most" | number;
  } | undefined;
  /** Each with more than `maxTokens` tokens. */
  readonly reference: readonly Uint32Array<ArrayBuffer>[];
  readonly trials: number;
  readonly maxTokens: number;
  readonly seed: bigint;
  readonly ignoreEnd: boolean;
  readonly confidence: number;
  readonly resamples: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: CompareSamplersOptions["onProgress"];
}

const fields = [
  ...["trials", "maxTokens", "seed", "ignoreEnd", "tune", "measures", "confidence", "resamples"],
  ...["reference", "signal", "onProgress"],
];

/** The options with defaults. */
export function checkSamplerComparison(
  model: Model,
  prompts: unknown,
  samplers: unknown,
  options: CompareSamplersOptions,
): SamplerComparisonSettings {
  checkFields(options, fields, "compareSamplers");
  checkFunction(options.onProgress, "onProgress");
  const own = options.measures ?? {};
  if (typeof own !== "object" || own === null) {
    throw new TypeError(`Expected measures to be functions by names, but found ${found(own)}`);
  }
  const measures = { ...samplerMeasures(model.info.vocabulary), ...own };
  for (const [name, measure] of Object.entries(measures)) {
    if (typeof measure !== "function") {
      throw new TypeError(
        `Expected measures.${name} to be a function, but found ${found(measure)}`,
      );
    }
  }
  const compared = checkPrompts(model, prompts, "prompts");
  const contenders = checkSamplers(samplers, options.tune !== undefined);
  const maxTokens = checkInteger(options.maxTokens ?? 128, 1, 1 << 20, "maxTokens");
  return {
    prompts: compared,
    contenders,
    measures,
    tune: checkTuning(model, options.tune, compared, Object.keys(measures)),
    trials: checkInteger(options.trials ?? 8, 1, 4000, "trials"),
    maxTokens,
    reference: options.reference === undefined
      ? []
      : checkReference(model, options.reference, maxTokens),
    seed: checkSeed(options.seed ?? 0),
    ignoreEnd: checkBoolean(options.ignoreEnd, "ignoreEnd") ?? true,
    confidence: checkNumber(
      options.confidence ?? 0.95,
      (value) => value > 0 && value < 1,
      "between 0 and 1",
      "confidence",
    ),
    resamples: checkInteger(options.resamples ?? 2000, 1, 1 << 20, "resamples"),
    signal: checkSignal(options.signal, "signal"),
    onProgress: options.onProgress,
  };
}

function checkReference(
  model: Model,
  texts: unknown,
  maxTokens: number,
): Uint32Array<ArrayBuffer>[] {
  const checked = checkPrompts(model, texts, "reference");
  const short = checked.findIndex(({ length }) => length <= maxTokens);
  if (short < 0) return checked;
  throw new RangeError(
    `Expected reference[${short}] to have more than ${maxTokens} tokens, ` +
      `but found ${checked[short]!.length}`,
  );
}

function checkPrompts(model: Model, prompts: unknown, what: string): Uint32Array<ArrayBuffer>[] {
  if (!Array.isArray(prompts) || prompts.length === 0) {
    throw new TypeError(
      `Expected ${what} to be an array of at least one text, but found ${found(prompts)}`,
    );
  }
  return prompts.map((prompt: Text, i) => {
    const tokens = joined(openingOf(model), bareTokens(model, prompt, `${what}[${i}]`));
    if (tokens.length === 0) {
      throw new RangeError(`Expected ${what}[${i}] to have a token, but found ${found(prompt)}`);
    }
    return tokens;
  });
}

/** All samplers get the same budget; those without parameters have nothing to spend it on. */
function checkSamplers(samplers: unknown, tuned: boolean): Contender[] {
  if (typeof samplers !== "object" || samplers === null || Array.isArray(samplers)) {
    throw new TypeError(`Expected samplers to be chains by names, but found ${found(samplers)}`);
  }
  const contenders = Object.entries(samplers).map(([name, given]) => ({
    name,
    settings: settingsOf(given, name),
  }));
  if (contenders.length === 0) throw new RangeError("Expected at least one sampler, but found 0");
  const budget = Math.max(...contenders.map(({ settings }) => settings.length));
  if (budget > 1 && !tuned) {
    throw new TypeError(
      `Expected tune with prompts for samplers with ${budget} settings, but found undefined`,
    );
  }
  for (const { name, settings } of contenders) {
    const bare = settings.length === 1 &&
      (settings[0] as readonly SamplerStage[]).every((s) => Object.keys(s.params).length === 0);
    if (settings.length !== budget && !bare) {
      throw new RangeError(
        `Expected the same tuning budget for each sampler, ${budget} settings, ` +
          `but found ${settings.length} of ${name}`,
      );
    }
  }
  return contenders;
}

function settingsOf(given: unknown, name: string): (readonly SamplerStage[])[] {
  const several = Array.isArray(given) && given.length > 0 &&
    given.every((one) => typeof one === "string" || Array.isArray(one));
  const chains = (several ? given : [given]) as SamplerChain[];
  return chains.map((chain) => {
    const stages = typeof chain === "string" ? parseSampler(chain) : chain;
    if (!Array.isArray(stages)) {
      throw new TypeError(`Expected samplers.${name} to be a chain, but found ${found(stages)}`);
    }
    generationSettings({ sampler: stages });
    return stages;
  });
}

function checkTuning(
  model: Model,
  tune: CompareSamplersOptions["tune"],
  compared: readonly Uint32Array[],
  measures: readonly string[],
): SamplerComparisonSettings["tune"] {
  if (tune === undefined) return undefined;
  checkFields(tune, ["prompts", "measure", "goal"], "tune");
  const prompts = checkPrompts(model, tune.prompts, "tune.prompts");
  const seen = new Set(compared.map((prompt) => prompt.join()));
  const same = prompts.findIndex((prompt) => seen.has(prompt.join()));
  if (same >= 0) {
    throw new RangeError(
      `Expected tune.prompts to be others than prompts, but found tune.prompts[${same}] among them`,
    );
  }
  const measure = checkChoice(tune.measure, measures, "tune.measure");
  if (measure === undefined) {
    throw new TypeError(`Expected tune.measure of ${measures.join(", ")}, but found undefined`);
  }
  const goal = typeof tune.goal === "number"
    ? checkNumber(tune.goal, () => true, "finite", "tune.goal")
    : checkChoice(tune.goal, ["least", "most"], "tune.goal");
  if (goal === undefined) {
    throw new TypeError("Expected tune.goal to be least, most or a number, but found undefined");
  }
  return { prompts, measure, goal };
}
