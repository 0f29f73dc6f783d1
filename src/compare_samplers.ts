import { formatSampler } from "./format_sampler.ts";
import { checkSamplerComparison } from "./internal/sampler_comparison_options.ts";
import type {
  Contender,
  SamplerComparisonSettings,
} from "./internal/sampler_comparison_options.ts";
import { referenceTexts } from "./internal/reference_texts.ts";
import type { TextMeasure } from "./internal/sampler_measures.ts";
import type { Text } from "./internal/scored_text.ts";
import { bootstrapInterval } from "./measures/bootstrap_interval.ts";
import type { Model } from "./model.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** A chain: its stages, or the notation that `parseSampler` reads. */
export type SamplerChain = string | readonly SamplerStage[];

/** What a measure sees of one continuation. */
export interface SampledText {
  readonly tokens: readonly number[];
  /** Natural logarithms of the tokens' probabilities in the model's own distribution. */
  readonly logprobs: readonly number[];
}

/** How `compareSamplers` compares. */
export interface CompareSamplersOptions {
  /** Continuations of each prompt by each sampler, from 1; 8 by default. */
  readonly trials?: number | undefined;
  /** Tokens of a continuation, 128 by default. */
  readonly maxTokens?: number | undefined;
  /** 0 by default. Trial t of prompt p has the seed `seed + p · trials + t` with every sampler. */
  readonly seed?: number | bigint | undefined;
  /** Goes on after a token that ends the text, so that all texts have one length; true by default. */
  readonly ignoreEnd?: boolean | undefined;
  /** Needed when samplers have several settings: how one of them is chosen. */
  readonly tune?: {
    /** Other prompts than those of the comparison. */
    readonly prompts: readonly Text[];
    /** The measure that decides, by name. */
    readonly measure: string;
    /** The least of it is best, the most, or what is nearest to a number, as that of human text. */
    readonly goal: "least" | "most" | number;
  } | undefined;
  /**
   * Texts that no sampler wrote, those of people for example, to compare with: of each, which has more
   * than `maxTokens` tokens, the last `maxTokens` are measured as a continuation of those before. They
   * stand in groups of at most `trials`, as the continuations of a prompt do.
   */
  readonly reference?: readonly Text[] | undefined;
  /** Further measures by name, of the texts of one prompt. */
  readonly measures?:
    | Readonly<Record<string, (texts: readonly SampledText[]) => number>>
    | undefined;
  /** Of the intervals; 0.95 by default. */
  readonly confidence?: number | undefined;
  /** Of the bootstrap; 2000 by default. */
  readonly resamples?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told how many texts have been generated. */
  readonly onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** What `compareSamplers` found; all of it can be written as JSON, where NaN is null. */
export interface SamplerComparison {
  readonly prompts: number;
  readonly trials: number;
  readonly maxTokens: number;
  /** As decimal digits. */
  readonly seed: string;
  readonly confidence: number;
  readonly samplers: readonly SamplerRow[];
  /** What the reference texts have; nothing without them. */
  readonly reference?: SamplerReference;
}

/** Texts that no sampler wrote, measured as those of samplers are. */
export interface SamplerReference {
  readonly texts: number;
  /** As those of a sampler, with groups of texts in the place of prompts. */
  readonly measures: Readonly<Record<string, SamplerFigure>>;
  /** By measure: the name of the sampler whose mean is nearest, the first of equals. */
  readonly nearest: Readonly<Record<string, string>>;
}

/** One sampler of a comparison. */
export interface SamplerRow {
  readonly name: string;
  /** The chain in its canonical form; empty for the model's own distribution. */
  readonly sampler: string;
  /** What was measured, by name, and `perplexity`, which is exp of `nll`. */
  readonly measures: Readonly<Record<string, SamplerFigure>>;
  /** This sampler's figures less those of the first sampler, prompt by prompt. */
  readonly differences: Readonly<Record<string, Omit<SamplerFigure, "corpus">>>;
  /** All settings that were tried; empty when there was one. */
  readonly tuning: readonly { readonly sampler: string; readonly value: number }[];
}

/** A figure and its confidence interval. */
export interface SamplerFigure {
  /** Mean over the prompts of the measure of each prompt's texts; NaN when no prompt has it. */
  readonly mean: number;
  /** Ends of its interval; NaN with fewer than two prompts. */
  readonly low: number;
  readonly high: number;
  /** Prompts that the measure is defined for. */
  readonly prompts: number;
  /** The measure of all texts of the sampler together, as published tables have it. */
  readonly corpus: number;
}

/**
 * Compares samplers fairly: the same prompts, the same number of trials, the same seeds, and as many
 * settings tried for each. All texts of a prompt continue one reading of it, together.
 *
 * Measured are `nll` (nats a token under the model) and `perplexity`, `entropy` of the tokens, `loops`
 * (share of texts that end in one), `seqRep4`, `repetitionRate4`, `distinct1`, `distinct2`,
 * `selfBleu4`, `zipf`, `coverage` and `length`. A figure is the mean over prompts of what the texts of
 * one prompt have, since prompts are what was drawn independently, and its interval is BCa bootstrap over
 * prompts. `differences` compare prompt by prompt with the first sampler: an interval without 0 says
 * more than two intervals that overlap or don't. With one trial a prompt has no `selfBleu4`. With
 * `reference`, texts that no sampler wrote are measured in the same way, and by each measure the sampler
 * that comes nearest to them is named.
 *
 * Samplers with parameters get the same tuning budget: lists of equally many settings, of which `tune`
 * picks the best on other prompts. (That a sampler looks better because more of its settings were tried is
 * what Schaeffer et al. 2025, arXiv 2506.13681, found of min-p.)
 *
 * @param model The model.
 * @param prompts Texts, or ids of tokens; at least one, and two for intervals.
 * @param samplers By name: a chain, or a list of chains to tune among.
 * @param options Trials, lengths, tuning, measures.
 * @throws {RangeError} When budgets differ, or prompts are tuned on.
 *
 * @example
 * ```ts
 * import { compareSamplers, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * const prompts = ["The sea was", "In the morning the keeper", "Nobody knew why"];
 * const samplers = {
 *   greedy: "greedy",
 *   nucleus: ["top-p=0.9", "top-p=0.95"],
 *   "min-p": ["min-p=0.05", "min-p=0.1"],
 * };
 * const { samplers: rows } = await compareSamplers(model, prompts, samplers, {
 *   trials: 4,
 *   maxTokens: 24,
 *   tune: { prompts: ["Once upon a time"], measure: "nll", goal: 3 },
 * });
 * for (const { name, sampler, measures } of rows) {
 *   console.log(name, sampler, measures["perplexity"], measures["distinct2"]);
 * }
 * ```
 */
export async function compareSamplers(
  model: Model,
  prompts: readonly Text[],
  samplers: Readonly<Record<string, SamplerChain | readonly SamplerChain[]>>,
  options: CompareSamplersOptions = {},
): Promise<SamplerComparison> {
  const settings = checkSamplerComparison(model, prompts, samplers, options);
  const { contenders, tune, trials } = settings;
  const budget = Math.max(...contenders.map((one) => one.settings.length));
  const tried = contenders.filter((one) => one.settings.length > 1);
  const total = trials * (settings.prompts.length * contenders.length +
    (tune === undefined ? 0 : tune.prompts.length * tried.length * budget));
  let done = 0;
  const progress = () => settings.onProgress?.({ done: done += trials, total });

  const chosen = new Map<Contender, { chain: readonly SamplerStage[]; tuning: Tried[] }>();
  for (const one of contenders) {
    chosen.set(one, { chain: one.settings[0] as readonly SamplerStage[], tuning: [] });
  }
  if (tune !== undefined && tried.length > 0) {
    const chains = tried.flatMap((one) => one.settings);
    // Behind the seeds of the comparison.
    const first = settings.seed + BigInt(settings.prompts.length * trials);
    const texts = await generateAll(model, tune.prompts, chains, first, settings, progress);
    const measure = settings.measures[tune.measure] as TextMeasure;
    for (const [i, one] of tried.entries()) {
      const tuning = one.settings.map((chain, s) => ({
        sampler: formatSampler(chain),
        value: meanOf(perPrompt(texts[i * budget + s] as Texts, measure)),
      }));
      const best = bestOf(tuning, tune.goal);
      chosen.set(one, { chain: one.settings[best] as readonly SamplerStage[], tuning });
    }
  }
  const chains = contenders.map((one) => chosen.get(one)!.chain);
  const texts = await generateAll(
    model,
    settings.prompts,
    chains,
    settings.seed,
    settings,
    progress,
  );
  const reference = await referenceTexts(model, settings);
  const rows = contenders.map((one, i) => {
    const { chain, tuning } = chosen.get(one)!;
    const sampler = formatSampler(chain);
    const figures = figuresOf(texts[i] as Texts, texts[0] as Texts, settings);
    return { name: one.name, sampler, ...figures, tuning };
  });
  return {
    prompts: settings.prompts.length,
    trials,
    maxTokens: settings.maxTokens,
    seed: String(settings.seed),
    confidence: settings.confidence,
    samplers: rows,
    ...(reference.length > 0 && { reference: referenceOf(reference, rows, settings) }),
  };
}

function referenceOf(
  texts: Texts,
  rows: readonly SamplerRow[],
  settings: SamplerComparisonSettings,
): SamplerReference {
  const { measures } = figuresOf(texts, texts, settings);
  const nearest: Record<string, string> = {};
  for (const [name, { mean }] of Object.entries(measures)) {
    const distances = rows.map((row) =>
      Math.abs((row.measures[name] as SamplerFigure).mean - mean)
    );
    const least = Math.min(...distances.filter(Number.isFinite));
    const at = distances.indexOf(least);
    if (at >= 0) nearest[name] = (rows[at] as SamplerRow).name;
  }
  return { texts: texts.flat().length, measures, nearest };
}

/** [prompts][trials] */
type Texts = readonly (readonly SampledText[])[];
type Tried = SamplerRow["tuning"][number];

/** The texts of each chain after each prompt: [chains][prompts][trials]. */
async function generateAll(
  model: Model,
  prompts: readonly Uint32Array[],
  chains: readonly (readonly SamplerStage[])[],
  seed: bigint,
  { trials, maxTokens, ignoreEnd, signal }: SamplerComparisonSettings,
  progress: () => void,
): Promise<Texts[]> {
  const all: SampledText[][][] = chains.map(() => []);
  for (const [p, prompt] of prompts.entries()) {
    signal?.throwIfAborted();
    using session = model.session({ context: prompt.length + maxTokens });
    await session.prefill(prompt, { signal });
    for (const [c, sampler] of chains.entries()) {
      const samples = session.sampleMany([], {
        ...{ n: trials, sampler, maxTokens, ignoreEnd, signal },
        seed: BigInt.asUintN(64, seed + BigInt(p * trials)),
      });
      const texts = await samples.collect();
      all[c]!.push(texts.map(({ tokens, logprobs }) => ({ tokens, logprobs })));
      progress();
    }
  }
  return all;
}

function perPrompt(texts: Texts, measure: TextMeasure): number[] {
  return texts.map((group) => measure(group));
}

function meanOf(values: readonly number[]): number {
  const finite = values.filter(Number.isFinite);
  return finite.reduce((sum, value) => sum + value, 0) / finite.length;
}

/** The index of the best setting; the first of equals, and of those that have no value. */
function bestOf(tuning: readonly Tried[], goal: "least" | "most" | number): number {
  const loss = ({ value }: Tried) => {
    if (!Number.isFinite(value)) return Infinity;
    return goal === "least" ? value : goal === "most" ? -value : Math.abs(value - goal);
  };
  const losses = tuning.map(loss);
  return Math.max(0, losses.indexOf(Math.min(...losses)));
}

/** All figures of a sampler, and how they differ from those of the first one. */
function figuresOf(
  texts: Texts,
  first: Texts,
  settings: SamplerComparisonSettings,
): Pick<SamplerRow, "measures" | "differences"> {
  const measures: Record<string, SamplerFigure> = {};
  const differences: Record<string, Omit<SamplerFigure, "corpus">> = {};
  for (const [name, measure] of Object.entries(settings.measures)) {
    const own = perPrompt(texts, measure);
    measures[name] = { ...estimate(own, settings), corpus: measure(texts.flat()) };
    const other = perPrompt(first, measure);
    differences[name] = estimate(own.map((value, i) => value - (other[i] as number)), settings);
  }
  const { mean, low, high, prompts, corpus } = measures["nll"] as SamplerFigure;
  const perplexity = {
    mean: Math.exp(mean),
    low: Math.exp(low),
    high: Math.exp(high),
    prompts,
    corpus: Math.exp(corpus),
  };
  return { measures: { perplexity, ...measures }, differences };
}

function estimate(
  values: readonly number[],
  { confidence, resamples }: SamplerComparisonSettings,
): Omit<SamplerFigure, "corpus"> {
  const finite = values.filter(Number.isFinite);
  const mean = meanOf(finite);
  if (finite.length < 2) return { mean, low: NaN, high: NaN, prompts: finite.length };
  const { low, high } = bootstrapInterval(finite, { confidence, resamples });
  return { mean, low, high, prompts: finite.length };
}
