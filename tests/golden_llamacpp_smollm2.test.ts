/**
 * SmolLM2 135M (Q4_1) against llama.cpp; what is compared stands in `golden_llamacpp.ts`.
 */

import { modelTests } from "./golden_llamacpp.ts";

await modelTests(
  "smollm2",
  { klMean: 1e-6, klMax: 1e-5, plainMean: 0.005, nll: 1e-4, every: 1 },
  { klMean: 0.005, klMax: 0.03, plainMean: 0.005, nll: 0.02, every: 1 },
);
