/**
 * Where the packed weights of a model are kept.
 *
 * @module
 */
import { mkdirSync, realpathSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import type { Precision } from "../precision.ts";
import { cacheFolder } from "../store/cache_folder.ts";
import { found } from "./check.ts";

/** `true`, `false`, a path or nothing. */
export function checkPacked(value: unknown): boolean | string | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  if (typeof value !== "string" || value.length === 0) {
    throw new TypeError(
      `Expected packed to be true, false or the path of a file, but found ${found(value)}`,
    );
  }
  return value;
}

/**
 * The path of the file, or nothing when none is wanted. A path that the caller chose stays the
 * caller's business; in the cache there is one file for each model file and precision.
 */
export async function packedPath(
  packed: boolean | string | undefined,
  model: string,
  precision: Precision | undefined,
): Promise<string | undefined> {
  if (packed === undefined || packed === false) return undefined;
  if (typeof packed === "string") return resolve(packed);
  const { createHash } = await import("node:crypto");
  const folder = join(cacheFolder(), "packed");
  try {
    mkdirSync(folder, { recursive: true });
  } catch {
    // The engine says what is wrong with the folder, and loads without it.
  }
  const place = createHash("sha256").update(realpathSync(model)).digest("hex").slice(0, 16);
  const stem = basename(model).replace(/\.gguf$/i, "");
  return join(folder, `${stem}-${precision ?? "int8"}-${place}.packed`);
}
