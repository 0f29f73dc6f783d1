import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Takes the most probable token; among equals the one with the lowest id. No random number is drawn.
 *
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { greedy } from "./mod.ts";
 *
 * console.log(greedy().name); // "greedy"
 * ```
 */
export function greedy(): SamplerStage {
  return { name: "greedy", params: {} };
}
