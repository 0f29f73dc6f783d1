/**
 * A second peer: llama.cpp as `llama-cpp-python` builds it on this machine, for this machine, from
 * its pinned source package. Building takes minutes and wants a C++ compiler; it is kept in
 * `.cache/peer`.
 *
 * @module
 */

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { compileDriver, type Driver, must, peerFolder, startDriver } from "./driver.ts";

const version = "0.3.36";
/** What it is called in results. */
export const nativePeerName = `llama-cpp-python ${version}, built here`;

/**
 * Builds it where it is missing, and starts it: the structures of its llama.cpp are those of the
 * prebuilt one, so that one driver serves both.
 */
export async function startNativePeer(
  model: string,
  threads: number,
  repack: boolean,
  say: (text: string) => void,
): Promise<Driver> {
  const python = join(peerFolder, "native", "bin", "python");
  if (!existsSync(python)) must("python3", ["-m", "venv", join(peerFolder, "native")]);
  const place = join(peerFolder, "native", `llama-cpp-python-${version}`);
  if (!existsSync(place)) {
    say(`building llama-cpp-python ${version}, which takes minutes, into .cache/peer`);
    must(python, [
      ...["-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python"],
      `llama-cpp-python==${version}`,
    ]);
    const code = "import importlib.util as u; print(u.find_spec('llama_cpp').origin)";
    writeFileSync(place, must(python, ["-c", code]).trim());
  }
  const libraries = join(dirname(readFileSync(place, "utf8")), "lib");
  const program = compileDriver("llamacpp", ["-ldl"], say);
  return await startDriver(program, [libraries, model, String(threads), repack ? "1" : "0"]);
}
