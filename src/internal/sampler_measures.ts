/**
 * What a comparison of samplers measures of the texts of one prompt, or of all texts together. A
 * measure that some texts are too short for is NaN.
 *
 * @module
 */
import type { SampledText } from "../compare_samplers.ts";
import { distinctN } from "../measures/distinct_n.ts";
import { entropy } from "../measures/entropy.ts";
import { repetitionLoop } from "../measures/repetition_loop.ts";
import { repetitionRate } from "../measures/repetition_rate.ts";
import { selfBleu } from "../measures/self_bleu.ts";
import { seqRep } from "../measures/seq_rep.ts";
import { tokenHistogram } from "../measures/token_histogram.ts";
import { vocabularyCoverage } from "../measures/vocabulary_coverage.ts";
import { zipfCoefficient } from "../measures/zipf_coefficient.ts";

/** One number of some texts. */
export type TextMeasure = (texts: readonly SampledText[]) => number;

/** The measures that every comparison has, by name. */
export function samplerMeasures(vocabulary: number): Record<string, TextMeasure> {
  const ofTokens = (least: number, measure: (texts: readonly (readonly number[])[]) => number) => {
    return (texts: readonly SampledText[]) => {
      const tokens = texts.map((text) => text.tokens);
      return tokens.some((text) => text.length >= least) ? measure(tokens) : NaN;
    };
  };
  return {
    nll: (texts) => {
      const logprobs = texts.flatMap((text) => text.logprobs);
      return -logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
    },
    entropy: ofTokens(1, (texts) => entropy(tokenHistogram(texts, vocabulary))),
    loops: ofTokens(0, (texts) => {
      return texts.filter((text) => repetitionLoop(text) !== undefined).length / texts.length;
    }),
    seqRep4: ofTokens(4, (texts) => seqRep(texts, 4)),
    repetitionRate4: ofTokens(4, (texts) => repetitionRate(texts, 4)),
    distinct1: ofTokens(1, (texts) => distinctN(texts, 1)),
    distinct2: ofTokens(2, (texts) => distinctN(texts, 2)),
    selfBleu4: ofTokens(1, (texts) => texts.length < 2 ? NaN : selfBleu(texts)),
    zipf: ofTokens(2, (texts) => new Set(texts.flat()).size < 2 ? NaN : zipfCoefficient(texts)),
    coverage: ofTokens(0, (texts) => vocabularyCoverage(texts, vocabulary)),
    length: (texts) => texts.reduce((sum, { tokens }) => sum + tokens.length, 0) / texts.length,
  };
}
