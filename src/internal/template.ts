/**
 * The library that renders chat templates. It is read while the engine's threads load the model, so
 * that no start waits for it, and so that rendering needs no promise.
 *
 * @module
 */
import { createRequire } from "node:module";
import type { Template } from "@huggingface/jinja";

let library: { readonly Template: typeof Template } | undefined;

/** Reads the library, once. */
export async function prepareTemplates(): Promise<void> {
  library ??= await import("@huggingface/jinja").catch(installed);
}

/**
 * The library where this module's own folder has it. Deno looks names up by the settings of the script that was
 * started, which has none when it lies outside of this repository.
 */
function installed(reason: unknown): NonNullable<typeof library> {
  try {
    return createRequire(import.meta.url)("@huggingface/jinja");
  } catch {
    throw reason;
  }
}

/** A template of this text; `prepareTemplates` has resolved before. */
export function template(source: string): Template {
  if (library === undefined) throw new Error("Expected that prepareTemplates was awaited");
  return new library.Template(source);
}
