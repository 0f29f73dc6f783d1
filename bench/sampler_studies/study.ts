/**
 * What a study of samplers is: something that was published, tried on a small model, as tables and verdicts.
 *
 * @module
 */

import type { Intervals, Lines } from "../../src/internal/chart.ts";
import type { Model } from "../../mod.ts";

/** How much is generated; the published run has `full`, tests have less. */
export interface Scale {
  /** Openings that are continued. */
  readonly prompts: number;
  /** Tokens that are recorded of each on a tape. */
  readonly tapeTokens: number;
  /** Continuations of each opening by each sampler. */
  readonly trials: number;
  /** Tokens of a continuation. */
  readonly tokens: number;
  /** Long texts of each sampler, their tokens, and the tokens of a window of them. */
  readonly texts: number;
  readonly longTokens: number;
  readonly window: number;
}

/** About ten minutes of two cores for each study, at most. */
export const full: Scale = {
  prompts: 16,
  tapeTokens: 48,
  trials: 6,
  tokens: 64,
  texts: 16,
  longTokens: 800,
  window: 100,
};

/** What a study gets. */
export interface StudyInput {
  readonly model: Model;
  readonly scale: Scale;
  /** Beginnings of texts. */
  readonly openings: readonly string[];
  /** A text that no model is to write, and that the openings are not of. */
  readonly text: string;
  readonly signal: AbortSignal;
  readonly progress: (done: number, total: number) => void;
}

/** A table of figures. */
export interface StudyTable {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What was found. Charts are kept as what they draw. */
export interface StudyResult {
  readonly tables: readonly StudyTable[];
  readonly verdicts: readonly { readonly text: string; readonly holds: boolean }[];
  readonly charts: readonly ({
    readonly name: string;
    readonly lines?: Lines;
    readonly intervals?: Intervals;
  })[];
}

/** A study. */
export interface Study {
  readonly id: string;
  readonly title: string;
  /** What was published, where, and what is done here. */
  readonly about: string;
  /** Why it can't be run with this engine; nothing when it can. */
  readonly missing?: () => string | undefined;
  readonly run: (input: StudyInput) => Promise<StudyResult>;
}

/** Mean of some numbers. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] as number;
  return sum / values.length;
}

/** A share for people. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
