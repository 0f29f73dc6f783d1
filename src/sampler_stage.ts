import type { StageFunction } from "./custom_stage.ts";
import type { StageData } from "./stage_data.ts";

/**
 * One stage of a sampler chain. Make it with a constructor such as `temperature` or `topP`; the
 * order of the stages in the list is the order in which they are applied.
 */
export interface SamplerStage {
  /** The stage's name in the engine, or the one that `customStage` was given. */
  readonly name: string;
  /** Its parameters by name, as they were given. */
  readonly params: Readonly<Record<string, number>>;
  /** What it has beside numbers, for stages that do. */
  readonly data?: StageData | undefined;
  /** What a stage does that is a function: `customStage` makes those. */
  readonly apply?: StageFunction | undefined;
}
