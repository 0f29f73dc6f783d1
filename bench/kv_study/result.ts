/**
 * What a run of the study found.
 *
 * @module
 */

import type { Experiment, Found } from "./experiments.ts";
import type { StreamingRow } from "./streaming.ts";

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
  /** What windows with sink tokens cost over the whole text; missing where it was not asked for. */
  readonly streaming?: StudiedStreaming | undefined;
}

export interface StudiedStreaming {
  readonly tokens: number;
  /** Tokens that a cache keeps. */
  readonly cache: number;
  readonly rows: readonly StreamingRow[];
  readonly verdicts: readonly Verdict[];
}

export interface StudiedExperiment extends Pick<Experiment, "id" | "title" | "about"> {
  readonly rows: readonly Found[];
  readonly verdicts: readonly Verdict[];
}

/** Something that was published, and whether it was found here. */
export interface Verdict {
  readonly text: string;
  readonly holds: boolean;
}

/** What it costs when only this layer's keys or values have two bits: mean KL divergence. */
export interface LayerCost {
  readonly which: "key" | "value";
  readonly layer: number;
  readonly kl: number;
}
