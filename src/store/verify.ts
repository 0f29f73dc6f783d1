/**
 * The last step of every way of fetching: a file gets its name only after its checksum was compared.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { closeSync, fsyncSync, openSync, readSync, renameSync, rmSync, statSync } from "node:fs";
import { basename } from "node:path";
import { EngineError } from "../engine_error.ts";
import { type PullSettings, throttle } from "./progress.ts";

/** The sha256 of a file in hexadecimal, and its first four bytes. */
export async function digestFile(
  path: string,
  settings: PullSettings = {},
  name: string = basename(path),
): Promise<{ sha256: string; magic: string }> {
  const hash = createHash("sha256");
  const buffer = new Uint8Array(1 << 20);
  const total = statSync(path).size;
  const report = throttle(settings.onProgress, 100);
  const file = openSync(path, "r");
  let done = 0;
  let magic = "";
  try {
    while (true) {
      const read = readSync(file, buffer, 0, buffer.length, done);
      if (read === 0) break;
      if (done === 0) magic = String.fromCharCode(...buffer.subarray(0, Math.min(4, read)));
      hash.update(buffer.subarray(0, read));
      done += read;
      report({ phase: "verify", name, done, total });
      // Hashing is synchronous: give timers and signals a turn at each mebibyte.
      await new Promise((resolve) => setImmediate(resolve));
      settings.signal?.throwIfAborted();
    }
  } finally {
    closeSync(file);
  }
  return { sha256: hash.digest("hex"), magic };
}

/**
 * Checks a fetched file and gives it its name. What doesn't pass is removed.
 *
 * @param from The file as it was fetched.
 * @param to Its name, in the same file system.
 * @param sha256 What the file must hash to; without it only its first bytes are looked at.
 * @param origin What is named in an error.
 */
export async function admit(
  from: string,
  to: string,
  sha256: string | undefined,
  origin: string,
  settings: PullSettings = {},
): Promise<void> {
  const seen = await digestFile(from, settings, basename(to));
  if (sha256 !== undefined && seen.sha256 !== sha256) {
    rmSync(from, { force: true });
    throw new EngineError(
      "invalid-file",
      `Expected a file with sha256 ${sha256} from ${origin}, but found ${seen.sha256}; it was removed`,
    );
  }
  if (seen.magic !== "GGUF") {
    rmSync(from, { force: true });
    throw new EngineError(
      "invalid-file",
      `Expected a GGUF file from ${origin}, but found one that begins with ${
        JSON.stringify(seen.magic)
      }; it was removed`,
    );
  }
  const file = openSync(from, "r+");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(from, to);
}
