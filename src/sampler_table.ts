import type { SamplerComparison, SamplerFigure, SamplerRow } from "./compare_samplers.ts";
import { table } from "./internal/text_table.ts";

/** The measures of the table, and how they are headed. */
const columns: Readonly<Record<string, string>> = {
  perplexity: "perplexity",
  seqRep4: "seq-rep-4",
  loops: "loops",
  distinct2: "distinct-2",
  selfBleu4: "self-BLEU-4",
  zipf: "Zipf",
};

/** The name of a chain without stages. */
const none = "(none)";

/**
 * A comparison of samplers as a table: a row for each, with means over the prompts and the ends of their
 * intervals; below them what the reference has, and which sampler is nearest to it by each measure.
 *
 * @param found What `compareSamplers` returned, or the same read from JSON.
 * @returns Lines of text, in columns for a font of one width.
 *
 * @example
 * ```ts
 * import { compareSamplers, loadModel, samplerTable } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * const samplers = { greedy: "greedy", nucleus: "top-p=0.9" };
 * const options = { trials: 2, maxTokens: 16 };
 * const found = await compareSamplers(model, ["The sea was", "Nobody knew"], samplers, options);
 * console.log(samplerTable(found));
 * ```
 */
export function samplerTable(found: SamplerComparison): string {
  const { reference } = found;
  const names = Object.keys(columns);
  const cells = (measures: SamplerRow["measures"]) => names.map((name) => cell(measures[name]));
  return table([
    ["sampler", ...Object.values(columns)],
    ...found.samplers.map((row) => [samplerName(row), ...cells(row.measures)]),
    ...(reference === undefined ? [] : [
      ["reference", ...cells(reference.measures)],
      ["nearest to it", ...names.map((name) => (reference.nearest[name] ?? "–") || none)],
    ]),
  ]);
}

/** How a measure is headed. */
export function measureTitle(name: string): string {
  return columns[name] ?? name;
}

/** Its name, and its chain where that is something else. */
export function samplerName({ name, sampler }: SamplerRow): string {
  const chain = sampler || none;
  return name === sampler ? chain : `${name}: ${chain}`;
}

/** `mean (low–high)` with about three digits; NaN is null in JSON. */
function cell(figure: SamplerFigure | undefined): string {
  const { mean, low, high } = figure ?? { mean: NaN, low: NaN, high: NaN };
  if (!Number.isFinite(mean)) return "–";
  const digits = Math.abs(mean) >= 100 ? 0 : Math.abs(mean) >= 10 ? 1 : Math.abs(mean) >= 1 ? 2 : 3;
  if (!Number.isFinite(low)) return mean.toFixed(digits);
  return `${mean.toFixed(digits)} (${low.toFixed(digits)}–${high.toFixed(digits)})`;
}
