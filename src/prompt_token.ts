import type { Step } from "./step.ts";

/**
 * A token of a prompt, as the model found it. Nothing predicts the first token of an empty session: its
 * `logprob` and `entropy` are NaN, and `top` is empty.
 */
export type PromptToken = Omit<Step, "text">;
