/**
 * Min-p, and the critique of its evaluation: what is left of its advantage when every sampler gets as many
 * settings to tune.
 *
 * @module
 */

import { compareSamplers, perplexity, type SamplerRow } from "../../mod.ts";
import type { Study, StudyInput, StudyResult } from "./study.ts";

/** Two temperatures by three values. */
function grid(name: string, temperatures: readonly number[], values: readonly number[]): string[] {
  return temperatures.flatMap((t) => values.map((value) => `temp=${t},${name}=${value}`));
}

/**
 * Six settings for each, in ranges that have the goal within them. The first sampler is top-p: what others
 * are compared with.
 */
const budgets: Readonly<Record<string, readonly string[]>> = {
  "top-p": grid("top-p", [1, 1.25], [0.8, 0.9, 0.95]),
  "min-p": grid("min-p", [1.5, 2], [0.02, 0.05, 0.1]),
  "top-k": grid("top-k", [1.25, 1.5], [40, 100, 500]),
  "temperature": ["0.9", "1", "1.03", "1.06", "1.1", "1.2"].map((t) => `temp=${t}`),
};
/** The settings that papers and programs come with, without any tuning. */
const usual: Readonly<Record<string, string>> = {
  "top-p 0.9, T 1": "temp=1,top-p=0.9",
  "min-p 0.1, T 1": "temp=1,min-p=0.1",
  "top-p 0.9, T 1.5": "temp=1.5,top-p=0.9",
  "min-p 0.1, T 1.5": "temp=1.5,min-p=0.1",
  "top-p 0.9, T 2": "temp=2,top-p=0.9",
  "min-p 0.1, T 2": "temp=2,min-p=0.1",
};
const measures = ["distinct2", "seqRep4", "selfBleu4", "zipf"] as const;

/** The study. */
export const minP: Study = {
  id: "min-p",
  title: "Min-p and its critique, with equal trials",
  about:
    "Min-p (Nguyen et al. 2024, arXiv 2407.01082) is reported to keep quality at high temperatures where " +
    "top-p loses it. Schaeffer et al. (2025, arXiv 2506.13681) found that its advantage over other samplers " +
    "goes away when all get the same number of settings to try. Both are tried on continuations of openings. " +
    "First the usual settings at rising temperatures. Then each sampler is tuned among six settings of its " +
    "own, on other openings, until its texts are as probable under the model as a text that it has not " +
    "written (nats a token): at equal probability, which texts are more diverse? Differences from top-p are by " +
    "opening, with 95 % BCa bootstrap intervals over openings. The last table has what the best of k settings " +
    "reaches, the mean over all choices of k of the six: how far a sampler comes nearer to the goal by " +
    "nothing but more trials.",
  run,
};

async function run(input: StudyInput): Promise<StudyResult> {
  const { model, scale, openings, text, signal } = input;
  const { trials, tokens: maxTokens, prompts } = scale;
  const paragraphs = text.split(/\n+/).filter((line) => line.trim() !== "");
  const beginnings = paragraphs.map((line) => line.split(" ").slice(0, 9).join(" "));
  const tuned = beginnings.slice(0, Math.max(2, Math.ceil(prompts / 2)));
  const { nll: goal } = await perplexity(model, text, { context: 2 * maxTokens });
  const compared = openings.slice(0, prompts);
  const sizes = [
    prompts * Object.keys(usual).length,
    tuned.length * 6 * Object.keys(budgets).length + prompts * Object.keys(budgets).length,
  ].map((groups) => groups * trials) as [number, number];
  const total = sizes[0] + sizes[1];
  const common = { trials, maxTokens, signal };
  const first = await compareSamplers(model, compared, usual, {
    ...common,
    onProgress: ({ done }) => input.progress(done, total),
  });
  const second = await compareSamplers(model, compared, budgets, {
    ...common,
    tune: { prompts: tuned, measure: "nll", goal },
    onProgress: ({ done }) => input.progress(sizes[0] + done, total),
  });
  return resultOf(first.samplers, second.samplers, goal);
}

/** How near the goal the best of k settings comes, for each k. */
type Curve = { readonly name: string; readonly values: readonly number[] };

function resultOf(
  usualRows: readonly SamplerRow[],
  tunedRows: readonly SamplerRow[],
  goal: number,
): StudyResult {
  const curves = tunedRows.map((row): Curve => ({
    name: row.name,
    values: bestOf(row.tuning.map(({ value }) => Math.abs(value - goal))),
  }));
  return {
    tables: tablesOf(usualRows, tunedRows, curves, goal),
    verdicts: verdictsOf(usualRows, tunedRows, curves),
    charts: chartsOf(tunedRows, curves),
  };
}

function tablesOf(
  usualRows: readonly SamplerRow[],
  tunedRows: readonly SamplerRow[],
  curves: readonly Curve[],
  goal: number,
): StudyResult["tables"] {
  return [
    {
      title: "Usual settings",
      head: ["sampler", "nats a token", "seq-rep-4", "distinct-2"],
      rows: usualRows.map(({ name, measures: found }) => [
        name,
        ...["nll", "seqRep4", "distinct2"].map((measure) => cell(found[measure]!)),
      ]),
    },
    {
      title: `Tuned to ${goal.toFixed(2)} nats a token, those of the other text`,
      head: ["sampler", "chosen", "nats a token", ...measures],
      rows: tunedRows.map(({ name, sampler, measures: found }) => [
        name,
        `\`${sampler}\``,
        ...["nll", ...measures].map((measure) => cell(found[measure]!)),
      ]),
    },
    {
      title: "Differences from top-p, by opening",
      head: ["sampler", "nats a token", ...measures],
      rows: tunedRows.slice(1).map(({ name, differences }) => [
        name,
        ...["nll", ...measures].map((measure) => cell(differences[measure]!)),
      ]),
    },
    {
      title: "Distance from the goal, best of k settings",
      head: ["sampler", ...curves[0]!.values.map((_, i) => `k = ${i + 1}`)],
      rows: curves.map(({ name, values }) => [name, ...values.map((value) => value.toFixed(3))]),
    },
  ];
}

function verdictsOf(
  usualRows: readonly SamplerRow[],
  tunedRows: readonly SamplerRow[],
  curves: readonly Curve[],
): StudyResult["verdicts"] {
  const nll = (name: string) => usualRows.find((row) => row.name === name)!.measures["nll"]!;
  const rise = (chain: string, degree: string) =>
    nll(`${chain}, T ${degree}`).mean - nll(`${chain}, T 1`).mean;
  const minP = tunedRows.find((row) => row.name === "min-p") as SamplerRow;
  const between = ({ low, high }: { low: number; high: number }) => low <= 0 && high >= 0;
  return [
    ...["1.5", "2"].map((degree) => ({
      text: `at a temperature of ${degree}, min-p 0.1 loses less than top-p 0.9 does`,
      holds: rise("min-p 0.1", degree) < rise("top-p 0.9", degree),
    })),
    {
      text: "tuned, the texts of min-p are as probable as those of top-p: the interval has 0 in it",
      holds: between(minP.differences["nll"]!),
    },
    ...(["distinct2", "seqRep4", "selfBleu4", "zipf"] as const).map((measure) => ({
      text: `tuned alike, min-p is no better than top-p in ${measure}: the interval has 0 in it`,
      holds: between(minP.differences[measure]!),
    })),
    {
      text: "every sampler comes nearer by more trials than the best differ from each other",
      holds: curves.every(({ values }) => {
        const ends = curves.map((curve) => curve.values.at(-1) as number);
        return values[0]! - values.at(-1)! > Math.max(...ends) - Math.min(...ends);
      }),
    },
  ];
}

function chartsOf(
  tunedRows: readonly SamplerRow[],
  curves: readonly Curve[],
): StudyResult["charts"] {
  return [
    {
      name: "trials",
      lines: {
        title: "What more trials buy: distance from the goal",
        x: "settings that were tried",
        first: 1,
        y: "nats a token",
        sets: [{ name: "", values: [] }, ...curves],
      },
    },
    {
      name: "differences",
      intervals: {
        title: "distinct-2 less that of top-p, tuned alike",
        x: "difference of the share of distinct 2-grams",
        rows: tunedRows.slice(1).map(({ name, differences }) => ({
          name,
          ...differences["distinct2"]!,
        })),
      },
    },
  ];
}

/** The mean least of k of the values, for each k: every choice counts alike. */
export function bestOf(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  const n = sorted.length;
  return sorted.map((_, i) => {
    const k = i + 1;
    // The j-th least is the best of k when the other k - 1 are among those behind it.
    let [sum, weight] = [0, k / n];
    for (let j = 0; j + k <= n; j++) {
      sum += weight * (sorted[j] as number);
      weight *= (n - j - k) / (n - j - 1);
    }
    return sum;
  });
}

function cell({ mean, low, high }: { mean: number; low: number; high: number }): string {
  if (!Number.isFinite(mean)) return "–";
  return `${mean.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`;
}
