/**
 * References to the Hugging Face hub: `hf:owner/repository/path/file.gguf`, with `@revision` at the
 * end if it isn't `main`. `HF_ENDPOINT` names another server with the same paths, `HF_TOKEN` is sent
 * to that server and to no other.
 *
 * @module
 */

import { join } from "node:path";
import process from "node:process";
import { EngineError } from "../engine_error.ts";
import type { RemoteFile } from "./download.ts";
import { safeName } from "./url.ts";

/** The files that a reference stands for: several when the model is split. */
export function hubFiles(ref: string, cache: string): RemoteFile[] {
  const match = /^hf:([\w.-]+)\/([\w.-]+)\/([^@]+\.gguf)(?:@([\w./-]+))?$/i.exec(ref);
  const [, owner, repository, path, revision = "main"] = match ?? [];
  const steps = [owner, repository, ...(path ?? "").split("/"), ...revision.split("/")];
  if (match === null || steps.some((step) => !step || safeName(step) === "")) {
    throw new EngineError(
      "model-not-found",
      `Expected hf:owner/repository/file.gguf or hf:owner/repository/file.gguf@revision, but found ${
        JSON.stringify(ref)
      }`,
    );
  }
  const endpoint = (process.env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
  const token = process.env["HF_TOKEN"];
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  return splitNames(path as string).map((name) => {
    const remote = name.split("/").map(encodeURIComponent).join("/");
    return {
      url: new URL(
        `${endpoint}/${owner}/${repository}/resolve/${encodeURIComponent(revision)}/${remote}`,
      ),
      path: join(
        cache,
        "hf",
        owner as string,
        repository as string,
        safeName(revision),
        ...name.split("/").map(safeName),
      ),
      sha256: undefined,
      headers,
    };
  });
}

/** `x-00001-of-00003.gguf` stands for all three files; any other name for itself. */
function splitNames(path: string): string[] {
  const match = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i.exec(path);
  if (match === null) return [path];
  const [, stem, , count] = match;
  const parts = Math.min(Number(count), 1000);
  return Array.from(
    { length: parts },
    (_, i) => `${stem}-${String(i + 1).padStart(5, "0")}-of-${count}.gguf`,
  );
}
