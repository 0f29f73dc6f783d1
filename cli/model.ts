/**
 * What the commands that load a model share: the options, the bar, and Ctrl-C.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import {
  type EvictPolicy,
  type KvFormat,
  kvFormats,
  kvGroupFormats,
  type KvPolicy,
  loadModel,
  type LoadOptions,
  type Model,
  type Precision,
  type PullProgress,
  resolveModel,
  type Session,
  type SessionOptions,
} from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { CommandOption } from "./command.ts";
import { note, ProgressBar } from "./output.ts";

/** The model that is meant when none is named. */
export const defaultModel = "smollm2";

/** Options of the commands that load weights. */
export const loadOptions = {
  threads: { short: "t", value: "N", help: "threads that compute; default: one a physical core" },
  packed: { help: "keep packed weights in the cache folder, and map them the next time" },
  precision: { value: "P", help: "int8 (default), or float: activations are not rounded, slower" },
} as const satisfies Record<string, CommandOption>;

/** Formats by name. Keys in those of groups need recent tokens, which only a policy can say. */
export const formatNames: readonly KvFormat[] = [...kvFormats, ...kvGroupFormats];
const formatList = (names: readonly KvFormat[]) =>
  `f16 (default), ${names.filter((name) => name !== "f16").join(", ")}`;

/** Options of the commands that make a session. */
export const sessionOptions = {
  ctx: { value: "N", help: "tokens that fit; default: the model's, at most 4096" },
  "key-format": { value: "F", help: `keys of the KV cache: ${formatList(kvFormats)}` },
  "value-format": { value: "F", help: `values of the KV cache: ${formatList(formatNames)}` },
  "kv-policy": { value: "FILE", help: "formats of the KV cache by layer and head, as JSON" },
} as const satisfies Record<string, CommandOption>;

const precisions: readonly Precision[] = ["int8", "float"];

/** Shows the fetching of a file as a bar. */
export function showPull(bar: ProgressBar): (progress: PullProgress) => void {
  return ({ phase, name, done, total }) => {
    if (phase === "wait") bar.show(`waiting for another process that fetches ${name}`, 0, 0);
    else if (phase === "verify") bar.show(`checking ${name}`, done, total);
    else bar.show(`downloading ${name}`, done, total);
  };
}

/** Finds or fetches the model and loads it, with a bar for what takes long. */
export async function openModel(
  ref: string,
  given: Arguments,
  extra: LoadOptions = {},
): Promise<Model> {
  const bar = new ProgressBar();
  try {
    const path = await resolveModel(ref, { signal: extra.signal, onProgress: showPull(bar) });
    const begun = performance.now();
    const model = await loadModel(path, {
      threads: given.integer("threads", 1, 1024),
      packed: given.has("packed"),
      precision: given.choice("precision", precisions),
      ...extra,
      onProgress: ({ done, total }) => {
        // Most models load faster than a bar can be read.
        if (process.stderr.isTTY && performance.now() - begun > 500) {
          bar.show("loading", done, total);
        }
      },
    });
    const { packed, packedNote } = model.info;
    if (packed === "unsaved") note(`packed weights are not kept: ${packedNote}\n`);
    return model;
  } finally {
    bar.end();
  }
}

/** The session that the options ask for. */
export function sessionSettings(given: Arguments): SessionOptions {
  for (const name of ["key-format", "value-format", "kv-policy"]) {
    if (!given.has("restore") || !given.has(name)) continue;
    throw new UsageError(
      `Expected a cache that is stored as the file of --restore says, but found --${name}`,
    );
  }
  const policy = given.text("kv-policy");
  const key = given.choice("key-format", formatNames);
  const value = given.choice("value-format", formatNames);
  if (policy !== undefined && (key !== undefined || value !== undefined)) {
    throw new UsageError(
      "Expected --kv-policy, or --key-format and --value-format, but found both",
    );
  }
  return {
    context: given.integer("ctx", 1, 1 << 20),
    kv: policy === undefined ? { key, value } : readPolicy(policy),
  };
}

/** The session that the options ask for: a new one, or that of a file. */
export async function openSession(
  model: Model,
  given: Arguments,
  signal: AbortSignal,
  evict?: EvictPolicy,
): Promise<Session> {
  const file = given.text("restore");
  if (file === undefined) return model.session({ ...sessionSettings(given), evict });
  return await model.restore(file, { context: given.integer("ctx", 1, 1 << 20), signal });
}

/** The policy of a file; `Model.session` checks it. */
export function readPolicy(file: string): KvPolicy {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`Expected a cache policy in ${file}, but ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text) as KvPolicy;
  } catch (error) {
    throw new UsageError(
      `Expected a cache policy as JSON in ${file}, but ${(error as Error).message}`,
    );
  }
}

/** The reason of a signal that Ctrl-C gave; its name makes the exit status 130. */
export function interruption(): Error {
  return new DOMException("The command was interrupted", "AbortError");
}

/** A signal that the first Ctrl-C gives; the second one ends the program. */
export function interruptSignal(): AbortSignal {
  const control = new AbortController();
  process.on("SIGINT", () => {
    if (control.signal.aborted) process.exit(130);
    control.abort(interruption());
  });
  return control.signal;
}
