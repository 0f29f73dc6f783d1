/**
 * Gemma 3 270M (Q4_K_M) against llama.cpp; what is compared stands in `golden_llamacpp.ts`.
 */

import { modelTests } from "./golden_llamacpp.ts";

// llama.cpp takes Gemma's GELU from a table in f16, which bounds how near the float path can be. That
// path holds the vocabulary of 262,144 as f32, so that it is measured on half of the prompts.
await modelTests(
  "gemma3-270m",
  { klMean: 1e-5, klMax: 1e-4, plainMean: 0.011, nll: 1e-3, every: 2 },
  { klMean: 0.005, klMax: 0.03, plainMean: 0.015, nll: 0.02, every: 1 },
);
