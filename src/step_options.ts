import type { GenerateOptions } from "./generate_options.ts";

/** How one token is generated: the fields of `GenerateOptions` that concern a single token. */
export type StepOptions = Pick<
  GenerateOptions,
  "sampler" | "seed" | "topLogprobs" | "entropy" | "signal"
>;
