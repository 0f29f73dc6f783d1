/**
 * A result of the benchmark, as it is written to JSON. Everything that is printed or drawn is made
 * from this alone.
 *
 * @module
 */

import type { MachineLimits } from "../mod.ts";
import type { Machine } from "./machine.ts";
import type { PeerSetting } from "./peer.ts";
import type { Spread } from "./statistics.ts";

/** What can be measured, in the order in which it is. */
export const workloads = [
  "start",
  "load",
  "prefill",
  "decode",
  "batch",
  "chat",
  "stream",
  "memory",
  "depth",
  "attention",
  "sampler",
  "tokenizer",
] as const;
export type Workload = typeof workloads[number];

/** Another engine in a row. */
export interface PeerFigure {
  readonly name: string;
  readonly value: Spread;
  /** How it was set, when there was a choice: the best of those tried. */
  readonly setting?: string;
  /** Further figures. */
  readonly details?: Readonly<Record<string, number>>;
}

/** What a row is asked to reach. */
export interface Target {
  /** Least share of the limit. */
  readonly share?: number;
  /** Least advantage over the peer. */
  readonly ratio?: number;
  /** Where smaller is better: the most that the value may be. */
  readonly most?: number;
  /** Where larger is better: the least. */
  readonly least?: number;
}

/** One row. */
export interface Row {
  readonly workload: Workload;
  /** What it is of, for people: "decode at depth 4096, q8_0 KV". */
  readonly title: string;
  readonly model?: string;
  readonly format?: string;
  readonly variant?: string;
  /** Unit of all values: tok/s, ms, %, MB/s, µs. In ms, % and µs less is better. */
  readonly unit: string;
  readonly ours?: Spread;
  readonly peer?: PeerFigure;
  /** A second peer, where one was asked for. */
  readonly native?: PeerFigure;
  /** The most that is possible, in the row's unit, and what bounds it. */
  readonly limit?: { readonly value: number; readonly of: string };
  readonly target?: Target;
  /** Bytes that the memory, or operations that the arithmetic, must do for each token. */
  readonly bytesPerToken?: number;
  readonly opsPerToken?: number;
  /** Further figures of ours: percentiles, sizes, hashes, watts. */
  readonly details?: Readonly<Record<string, number>>;
  /** What is particular about how it was measured. */
  readonly note?: string;
  /** Why there is nothing. */
  readonly skipped?: string;
}

/** How a peer was found to be fastest in a format, and on which model that was tried. */
export interface FoundSetting {
  readonly model: string;
  readonly prefill: PeerSetting;
  readonly decode: PeerSetting;
  /** Each setting in words, with the tokens a second of reading and of generating. */
  readonly tried: readonly string[];
}

/** A whole run. */
export interface Result {
  readonly version: 1;
  readonly when: string;
  /** When it was continued, if it was ended early. */
  readonly continued?: readonly string[];
  readonly engine: string;
  readonly threads: number;
  readonly machine: Machine;
  /** By CPU variant, measured in the same run. */
  readonly limits: Readonly<Record<string, MachineLimits>>;
  /** By peer, format and CPU variant. */
  readonly settings?: Readonly<Record<string, FoundSetting>>;
  readonly rows: readonly Row[];
}

/** Whether less is better. */
export function lessIsBetter(row: Row): boolean {
  return row.unit !== "tok/s" && row.unit !== "MB/s";
}

/** The share of the limit that a value reaches. */
export function shareOf(row: Row, value: number | undefined): number | undefined {
  if (row.limit === undefined || value === undefined) return undefined;
  return lessIsBetter(row) ? row.limit.value / value : value / row.limit.value;
}

/** How many times better we are. */
export function ratioOf(row: Row, peer: PeerFigure | undefined = row.peer): number | undefined {
  if (row.ours === undefined || peer === undefined) return undefined;
  const [ours, theirs] = [row.ours.median, peer.value.median];
  return lessIsBetter(row) ? theirs / ours : ours / theirs;
}

/** Whether the row reaches its targets; nothing when it has none that can be judged. */
export function holds(row: Row): boolean | undefined {
  if (row.ours === undefined || row.target === undefined) return undefined;
  const { share, ratio, most, least } = row.target;
  const judged: boolean[] = [];
  const reached = shareOf(row, row.ours.median);
  if (share !== undefined && reached !== undefined) judged.push(reached >= share);
  const advantage = ratioOf(row);
  if (ratio !== undefined && advantage !== undefined) judged.push(advantage >= ratio);
  if (most !== undefined) judged.push(row.ours.median <= most);
  if (least !== undefined) judged.push(row.ours.median >= least);
  return judged.length === 0 ? undefined : judged.every(Boolean);
}
