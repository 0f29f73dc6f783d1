import type { SamplerComparison, SamplerFigure } from "./compare_samplers.ts";
import { intervals } from "./internal/chart.ts";
import { measureTitle, samplerName } from "./sampler_table.ts";

/**
 * One measure of a comparison of samplers as a picture: the means over the prompts with their intervals,
 * one sampler below the other, and the reference last.
 *
 * @param found What `compareSamplers` returned, or the same read from JSON.
 * @param measure The name of a measure of `found`.
 * @returns SVG, the same bytes for the same figures under every runtime.
 * @throws {RangeError} When there is no such measure.
 *
 * @example
 * ```ts
 * import { writeFileSync } from "node:fs";
 * import { compareSamplers, loadModel, samplerChart } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * const samplers = { greedy: "greedy", nucleus: "top-p=0.9" };
 * const options = { trials: 2, maxTokens: 16 };
 * const found = await compareSamplers(model, ["The sea was", "Nobody knew"], samplers, options);
 * writeFileSync("distinct.svg", samplerChart(found, "distinct2"));
 * ```
 */
export function samplerChart(found: SamplerComparison, measure = "perplexity"): string {
  const known = Object.keys(found.samplers[0]?.measures ?? {});
  if (!known.includes(measure)) {
    throw new RangeError(
      `Expected a measure of the comparison (${known.join(", ")}), but found ${
        JSON.stringify(measure)
      }`,
    );
  }
  const { samplers, reference, prompts, trials } = found;
  return intervals({
    title: `${measureTitle(measure)} of ${prompts} prompts, ${trials} trials each`,
    x: measureTitle(measure),
    rows: [
      ...samplers.map((row) => ({
        ...row.measures[measure] as SamplerFigure,
        name: samplerName(row),
      })),
      ...(reference === undefined
        ? []
        : [{ ...reference.measures[measure] as SamplerFigure, name: "reference" }]),
    ],
  });
}
