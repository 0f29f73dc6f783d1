/**
 * A second peer: llama.cpp as `llama-cpp-python` builds it on this machine, for this machine, from
 * its pinned source package. Building takes minutes and wants a C++ compiler; it is kept in
 * `.cache/peer`.
 *
 * @module
 */

import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Driver, must, peerFolder, root, startDriver } from "./driver.ts";

const version = "0.3.36";
/** What it is called in results. */
export const nativePeerName = `llama-cpp-python ${version}, built here`;

/** Builds it where it is missing, and starts it. */
export async function startNativePeer(
  model: string,
  threads: number,
  repack: boolean,
  say: (text: string) => void,
): Promise<Driver> {
  const python = join(peerFolder, "native", "bin", "python");
  if (!existsSync(python)) must("python3", ["-m", "venv", join(peerFolder, "native")]);
  const installed = join(peerFolder, "native", `llama-cpp-python-${version}`);
  if (!existsSync(installed)) {
    say(`building llama-cpp-python ${version}, which takes minutes, into .cache/peer`);
    must(python, [
      ...["-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python"],
      `llama-cpp-python==${version}`,
    ]);
    writeFileSync(installed, "");
  }
  const script = join(root, "bench", "driver", "llama_cpp_python.py");
  return await startDriver(python, [script, model, String(threads), repack ? "1" : "0"]);
}
