/**
 * What a row is measured on: a model in a format, run by a CPU variant, and what was found out about the
 * peer's settings.
 *
 * @module
 */

import { startEngine } from "./engine.ts";
import { Pair, type Patience, type Rounds, type Starter } from "./pair.ts";
import { type PeerSetting, startPeer } from "./peer.ts";
import type { PeerFigure, Row, Workload } from "./result.ts";
import type { FileFormat, Shape, Work } from "./shapes.ts";

/** A model in a format, run by a CPU variant. */
export interface Subject {
  readonly model: string;
  readonly format: FileFormat;
  readonly shape: Shape;
  readonly work: Work;
  readonly path: string;
  readonly variant: string;
  /** Whether the variant is the one that the engine takes by itself. */
  readonly best: boolean;
  readonly threads: number;
  /** Formats of the KV cache that the engine has. */
  readonly cacheFormats: readonly string[];
  readonly sizes: Sizes;
  readonly patience: Patience;
  readonly pair: Pair;
  /** The peer's best settings; nothing when it is left out. */
  readonly peer: PeerChoice | undefined;
  readonly say: (text: string) => void;
}

/** How much is read and generated. */
export interface Sizes {
  readonly prompt: number;
  readonly tokens: number;
  readonly depth: number;
}

/** What the peer is run with, for each kind of work. */
export interface PeerChoice {
  readonly name: string;
  /** Starts it; the same function for the same words, so that it isn't started again. */
  readonly start: (repack: boolean) => Starter;
  readonly prefill: PeerSetting;
  readonly decode: PeerSetting;
}

/** GGUF numbers of cache formats, and the bytes that a value takes. */
export const cacheFormatIds: Readonly<Record<string, { id: number; bytes: number }>> = {
  f32: { id: 0, bytes: 4 },
  f16: { id: 1, bytes: 2 },
  q8_0: { id: 8, bytes: 34 / 32 },
  bf16: { id: 30, bytes: 2 },
};

/** The words of the command `context`. */
export function contextCommand(
  context: number,
  sequences: number,
  cache: string,
  flash: boolean,
): (string | number)[] {
  const id = cacheFormatIds[cache]?.id ?? 1;
  return ["context", context, sequences, id, id, flash ? 1 : 0];
}

/** Our engine. */
export function ourStarter(
  path: string,
  threads: number,
  variant: string,
  say: (text: string) => void,
): Starter {
  return () => startEngine(path, threads, variant, say);
}

const starters = new Map<string, Starter>();

/** The same function for the same words, so that a pair sees that the peer is the same. */
export function starterOf(key: readonly (string | number | boolean)[], make: Starter): Starter {
  const name = key.join(" ");
  const known = starters.get(name) ?? make;
  starters.set(name, known);
  return known;
}

/** The peer from its prebuilt package. */
export function peerStarter(
  path: string,
  threads: number,
  variant: string,
  repack: boolean,
  say: (text: string) => void,
): Starter {
  return starterOf(
    ["prebuilt", path, threads, variant, repack],
    () => startPeer(path, threads, variant, repack, say),
  );
}

/** Lets the pair use the peer with a setting. */
export async function withPeer(
  subject: Subject,
  setting: PeerSetting | undefined,
): Promise<boolean> {
  await subject.pair.usePeer(setting && subject.peer?.start(setting.repack));
  return setting !== undefined;
}

/** A setting in words. */
export function settingText(setting: PeerSetting): string {
  return `flash attention ${setting.flash ? "on" : "off"}, repacking ${
    setting.repack ? "on" : "off"
  }`;
}

/** The part of a row that says what it is of. */
export function rowOf(
  subject: Subject,
  workload: Workload,
  title: string,
  unit: string,
): Pick<Row, "workload" | "title" | "model" | "format" | "variant" | "unit"> {
  const { model, format, variant } = subject;
  return { workload, title, model, format, variant, unit };
}

/** The peer's part of a row, when it was measured. */
export function peerFigure(
  subject: Subject,
  setting: PeerSetting,
  value: PeerFigure["value"] | undefined,
): { peer?: PeerFigure } {
  if (subject.peer === undefined || value === undefined) return {};
  return { peer: { name: subject.peer.name, value, setting: settingText(setting) } };
}

/** Details and the note that every measured row has. */
export function circumstances(
  subject: Subject,
  rounds: Rounds,
  details: Record<string, number> = {},
): Pick<Row, "details" | "note"> {
  const { watts, celsius } = rounds;
  return {
    details: {
      ...details,
      ...(watts !== undefined && { watts }),
      ...(celsius !== undefined && { celsius }),
    },
    ...(!subject.pair.together && rounds.peer.length > 0 && {
      note: "one engine after the other: both don't fit into memory",
    }),
  };
}

/** Bytes that a token's pass reads: the weights, and the cache of the tokens before it. */
export function bytesPerToken(subject: Subject, position: number, cache = "f16"): number {
  const { work } = subject;
  return work.tokenBytes + position * work.cacheValues * (cacheFormatIds[cache]?.bytes ?? 2);
}
