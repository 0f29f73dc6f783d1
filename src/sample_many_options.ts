import type { GenerateOptions } from "./generate_options.ts";

/** How `Session.sampleMany` generates: as `Session.generate`, several times and without records. */
export interface SampleManyOptions
  extends Omit<GenerateOptions, "trace" | "tape" | "promptLogprobs"> {
  /** How many continuations, from 1 to 4000. */
  readonly n: number;
  /**
   * Seed of the first continuation; the others have the seeds after it. By default one is drawn; read
   * them from `Samples.seeds`.
   */
  readonly seed?: number | bigint | undefined;
}
