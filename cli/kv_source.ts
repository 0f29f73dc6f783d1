/**
 * Where `vitrine kv` gets a cache from: a model that reads a text, or a file of saved sessions.
 *
 * @module
 */

import { closeSync, openSync, readSync } from "node:fs";
import {
  type KvFormat,
  type KvPart,
  type KvPolicy,
  type KvRaw,
  type KvView,
  type Model,
  readSnapshot,
  type Session,
  type Snapshot,
} from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { openModel } from "./model.ts";
import { ProgressBar } from "./output.ts";
import { readText } from "./tokenize.ts";

/** Whether a file has saved sessions. */
export function isSaved(path: string): boolean {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    const head = new Uint8Array(8);
    return readSync(file, head, 0, 8, 0) === 8 && new TextDecoder().decode(head) === "VITRSESS";
  } catch {
    return false;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The text that --file names. `ref`: what could have been a file of saved sessions instead, and isn't. */
export function textOf(given: Arguments, ref?: string): string {
  const file = given.text("file");
  if (file === undefined) {
    const why = ref === undefined ? "" : `, as ${ref} is no file of saved sessions`;
    throw new UsageError(`Expected --file with a text${why}, but found none`);
  }
  return readText(file);
}

/** Loads the model, and does something with the tokens of the text. */
export async function withTokens(
  ref: string,
  text: string,
  given: Arguments,
  signal: AbortSignal,
  use: (model: Model, tokens: Uint32Array) => Promise<void>,
): Promise<void> {
  const most = given.integer("tokens", 2);
  using model = await openModel(ref, given, { signal });
  await use(model, model.tokenize(text, { parseSpecial: false }).slice(0, most));
}

/** Tokens that are read between two looks at the cache: those of a page. */
const pieceLength = 64;

/** Reads tokens into sessions, side by side, with a bar; `look` is called behind each piece. */
export async function readInto(
  sessions: readonly Session[],
  tokens: Uint32Array,
  signal: AbortSignal,
  look: () => void = () => {},
): Promise<void> {
  const bar = new ProgressBar((value) => `${value} tokens`);
  try {
    for (let from = 0; from < tokens.length; from += pieceLength) {
      signal.throwIfAborted();
      bar.show("reading", from, tokens.length);
      const piece = tokens.slice(from, from + pieceLength);
      await Promise.all(sessions.map((session) => session.prefill(piece, { signal })));
      look();
    }
  } finally {
    bar.end();
  }
}

/** A cache to look into, whatever it comes from. */
export interface KvLook {
  readonly name: string;
  readonly policy: KvPolicy;
  readonly layers: number;
  readonly heads: number;
  readonly keyLength: number;
  readonly valueLength: number;
  /** Positions that have keys and values. */
  readonly positions: number;
  readonly tokens: Uint32Array;
  readonly format: (place: Place) => KvFormat;
  readonly read: (part: KvPart, view: Exclude<KvView, "raw">) => Float32Array<ArrayBuffer>;
  readonly raw: (part: KvPart) => KvRaw;
}

interface Place {
  readonly which: "key" | "value";
  readonly layer: number;
  readonly head: number;
}

/** The cache of a session. */
export function lookAt(session: Session, model: Model): KvLook {
  const { kv } = session;
  const { policy, layers, heads, keyLength, valueLength, positions } = kv;
  return {
    name: model.info.architecture,
    ...{ policy, layers, heads, keyLength, valueLength, positions },
    tokens: session.tokens,
    format: (place) => kv.format(place),
    read: (part, view) => kv.read({ ...part, view }),
    raw: (part) => kv.read({ ...part, view: "raw" }),
  };
}

/** The cache of a sequence of a file. */
export function lookInto(snapshot: Snapshot, sequence: number): KvLook {
  const found = snapshot.sequences[sequence];
  if (found === undefined) {
    throw new UsageError(
      `Expected --sequence from 0 to ${snapshot.sequences.length - 1}, but found ${sequence}`,
    );
  }
  const { model, policy, layers, heads, keyLength, valueLength } = snapshot;
  return {
    name: model.name || model.architecture,
    ...{ policy, layers, heads, keyLength, valueLength, positions: found.evaluated },
    tokens: snapshot.tokens(sequence),
    format: (place) => snapshot.format(place),
    read: (part, view) => {
      try {
        return snapshot.read({ ...part, sequence, view });
      } catch (error) {
        if (view !== "unrotated" || !(error instanceof RangeError)) throw error;
        throw new UsageError(
          "Expected a model to take the rotation back, or keys stored before it, but found a saved " +
            "session; kv MODEL dump --view unrotated --file F has a model",
        );
      }
    },
    raw: (part) => snapshot.read({ ...part, sequence, view: "raw" }),
  };
}

/** Opens a file of saved sessions. */
export function openSaved(path: string): Snapshot {
  return readSnapshot(path);
}

/** Which part of a cache the options choose. */
export interface Chosen {
  readonly sides: readonly ("key" | "value")[];
  readonly layers: readonly number[];
  readonly heads: readonly number[];
  readonly from: number;
  readonly to: number;
}

/** The options of a part. */
export const partOptions = ["which", "layer", "head", "from", "to", "sequence"];

/** Checks the part against the cache. */
export function chosenPart(look: KvLook, given: Arguments): Chosen {
  const which = given.choice("which", ["key", "value"]);
  const { layers, heads, positions } = look;
  if (positions === 0) throw new UsageError("Expected a cache with tokens, but found an empty one");
  const to = given.integer("to", 1, positions) ?? positions;
  return {
    sides: which === undefined ? ["key", "value"] : [which],
    layers: listOf(given, "layer", layers),
    heads: listOf(given, "head", heads),
    from: given.integer("from", 0, to - 1) ?? 0,
    to,
  };
}

/** Numbers and ranges of them, as in `0,4-7`. */
function listOf(given: Arguments, name: string, count: number): number[] {
  const text = given.text(name);
  if (text === undefined) return Array.from({ length: count }, (_, i) => i);
  return text.split(",").flatMap((word) => {
    const [, first, last] = /^(\d+)(?:-(\d+))?$/.exec(word) ?? [];
    const [from, to] = [Number(first), Number(last ?? first)];
    if (!(from <= to && to < count)) {
      throw new UsageError(
        `Expected numbers from 0 to ${count - 1} after --${name}, as in 0,2-3, but found "${word}"`,
      );
    }
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });
}
