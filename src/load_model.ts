import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  found,
} from "./internal/check.ts";
import { EngineError } from "./engine_error.ts";
import { ModelCore } from "./internal/model_core.ts";
import { checkPacked, packedPath } from "./internal/packed_path.ts";
import { Model } from "./model.ts";
import type { LoadOptions } from "./load_options.ts";

/**
 * Loads a model. The work is done by threads of the engine, so that JavaScript goes on meanwhile.
 *
 * @param ref A path of a GGUF file, a name such as `"smollm2"`, or a reference to a hub such as
 *   `"hf:owner/repository/file.gguf"`. What isn't on this machine yet is downloaded first.
 * @param options Threads, precision, progress and cancellation.
 * @returns The model, ready to use; dispose of it when done (`using`).
 * @throws {EngineError} When the file can't be found, read or understood.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2", { threads: 2 });
 * using session = model.session();
 * for await (const step of session.generate("The future of AI is", { maxTokens: 8 })) {
 *   console.log(step.text);
 * }
 * ```
 */
export async function loadModel(ref: string, options: LoadOptions = {}): Promise<Model> {
  if (typeof ref !== "string" || ref.length === 0) {
    throw new TypeError(`Expected the path or the name of a model, but found ${found(ref)}`);
  }
  checkFields(options, fields, "loadModel");
  const settings = {
    threads: options.threads === undefined
      ? 0
      : checkInteger(options.threads, 1, threadsMax(), "threads"),
    precision: checkChoice(options.precision, ["int8", "float"], "precision"),
    vocabularyOnly: checkBoolean(options.vocabularyOnly, "vocabularyOnly") ?? false,
    packed: checkPacked(options.packed),
    signal: checkSignal(options.signal, "signal"),
    onProgress: options.onProgress,
  };
  checkFunction(options.onProgress, "onProgress");
  settings.signal?.throwIfAborted();
  const path = await pathOf(ref, options);
  settings.signal?.throwIfAborted();
  const packed = await packedPath(settings.packed, path, settings.precision);
  return new Model(await ModelCore.load(path, { ...settings, packed }));
}

const fields = ["threads", "precision", "vocabularyOnly", "packed", "signal", "onProgress"];

/** More threads than processors are allowed, because results may not depend on their number. */
function threadsMax(): number {
  return Math.max(256, availableParallelism());
}

async function pathOf(ref: string, options: LoadOptions): Promise<string> {
  if (existsSync(ref)) return resolve(ref);
  if (/^\.{0,2}[\\/]|^[A-Za-z]:[\\/]/.test(ref)) {
    throw new EngineError(
      "file-not-found",
      `Expected a GGUF file at ${ref}, but found nothing there`,
    );
  }
  const { resolveModel } = await import("./store.ts");
  const { signal, onProgress } = options;
  return resolveModel(ref, {
    ...(signal && { signal }),
    ...(onProgress && {
      onProgress: (progress: { done: number; total: number }) =>
        onProgress({ phase: "download", done: progress.done, total: progress.total }),
    }),
  });
}
