/**
 * References that are URLs.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { basename, join } from "node:path";
import { EngineError } from "../engine_error.ts";
import type { RemoteFile } from "./download.ts";

/** Where a URL's file is kept, and the checksum that the part behind `#` asks for. */
export function urlFile(ref: string, cache: string): RemoteFile {
  let url: URL;
  try {
    url = new URL(ref);
  } catch (cause) {
    throw new EngineError("model-not-found", `Expected a URL, but found ${JSON.stringify(ref)}`, {
      cause,
    });
  }
  const sha256 = checksumOf(url);
  url.hash = "";
  // The name alone could be that of another file elsewhere.
  const key = createHash("sha256").update(url.href).digest("hex").slice(0, 16);
  const name = safeName(decodeName(basename(url.pathname))) || "model.gguf";
  return { url, path: join(cache, "url", key, name), sha256, headers: {} };
}

function checksumOf(url: URL): string | undefined {
  if (url.hash === "") return undefined;
  const match = /^#sha256=([0-9a-f]{64})$/i.exec(url.hash);
  if (match === null) {
    throw new EngineError(
      "model-not-found",
      `Expected #sha256= and 64 hexadecimal digits at the end of the URL, but found ${
        JSON.stringify(url.hash)
      }`,
    );
  }
  return (match[1] as string).toLowerCase();
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** A name that is a name in every file system and leads nowhere else. */
export function safeName(name: string): string {
  const plain = name.replace(/[^A-Za-z0-9._+-]/g, "_").slice(-200);
  return /^\.*$/.test(plain) ? "" : plain;
}
