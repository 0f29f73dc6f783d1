import { SamplerStages } from "./ffi/symbols.gen.ts";
import { packStages } from "./internal/request.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Writes a chain in the short notation that `parseSampler` reads, always in the same form: full
 * names, every value, and what a stage has beside numbers as JSON. A stage that is a function is written as `function:` and its name, which
 * `parseSampler` doesn't read.
 *
 * @param sampler The stages, in order.
 * @returns For example `temperature=0.8,top-p=0.9`; empty for a chain without stages.
 *
 * @example
 * ```ts
 * import { formatSampler, temperature, topP } from "./mod.ts";
 *
 * console.log(formatSampler([temperature(0.8), topP(0.9)])); // "temperature=0.8,top-p=0.9"
 * ```
 */
export function formatSampler(sampler: readonly SamplerStage[]): string {
  packStages(sampler); // Refuses what is no chain.
  return sampler.map((stage) => {
    if (stage.apply !== undefined) return `function:${stage.name}`;
    const { params } = SamplerStages[stage.name as keyof typeof SamplerStages];
    const values: unknown[] = params.map((name) => stage.params[name]);
    if (stage.data !== undefined) values.push(JSON.stringify(stage.data));
    const name = stage.name.replaceAll("_", "-");
    return values.length === 0 ? name : `${name}=${values.join(":")}`;
  }).join(",");
}
