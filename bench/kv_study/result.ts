/**
 * What a run of the study found.
 *
 * @module
 */

import type { Experiment, Found } from "./experiments.ts";

export interface Study {
  readonly models: ModelStudy[];
}

export interface ModelStudy {
  readonly name: string;
  readonly shape: { readonly layers: number; readonly heads: number; readonly length: number };
  /** Tokens that were read, in pieces of `context`. */
  readonly tokens: number;
  readonly context: number;
  /** Of the reference, keys and values in f32. */
  readonly perplexity: number;
  readonly experiments: readonly StudiedExperiment[];
  readonly layers: readonly LayerCost[];
}

export interface StudiedExperiment extends Pick<Experiment, "id" | "title" | "about"> {
  readonly rows: readonly Found[];
  readonly verdicts: readonly { readonly text: string; readonly holds: boolean }[];
}

/** What it costs when only this layer's keys or values have two bits: mean KL divergence. */
export interface LayerCost {
  readonly which: "key" | "value";
  readonly layer: number;
  readonly kl: number;
}
