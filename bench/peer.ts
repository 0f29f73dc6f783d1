/**
 * The peers of the benchmark: llama.cpp from the npm package `@node-llama-cpp`, which carries its
 * prebuilt libraries with one CPU back end for each x86 level, and `node-llama-cpp`, its interface
 * for TypeScript. They are installed on demand into `.cache/peer` of the repository and are never a
 * dependency of the product. A small C program (`driver/llamacpp.c`, compiled with `zig cc`) drives
 * the library in a process of its own.
 *
 * @module
 */

import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { compileDriver, type Driver, must, peerFolder, root, startDriver } from "./driver.ts";

/** What the peer is called in results. */
export const peerName = "llama.cpp v0.5.0 (@node-llama-cpp 3.22.1)";
/** What its TypeScript interface is called in results. */
export const nodePeerName = "node-llama-cpp 3.22.1";

const version = "3.22.1";

/** Its back end for each of our CPU variants, with the same instructions; without one, it chooses itself. */
const backEnds: Readonly<Record<string, string>> = {
  x86_64: "x64",
  avx2: "haswell",
  avx_vnni: "alderlake",
  avx512: "skylakex",
  avx512_vnni: "cooperlake",
};

/** How llama.cpp is run. */
export interface PeerSetting {
  /** Weights may be repacked for its faster kernels, which takes a second copy of them. */
  readonly repack: boolean;
  readonly flash: boolean;
}

/** Starts the peer with a model; `variant` is ours, whose counterpart of the peer is forced. */
export async function startPeer(
  model: string,
  threads: number,
  variant: string,
  repack: boolean,
  say: (text: string) => void,
): Promise<Driver> {
  const libraries = backEndFolder(install(say), variant);
  const program = compileDriver("llamacpp", ["-ldl"], say);
  return await startDriver(program, [libraries, model, String(threads), repack ? "1" : "0"]);
}

/** Starts node-llama-cpp on Node. */
export async function startNodePeer(
  model: string,
  threads: number,
  say: (text: string) => void,
): Promise<Driver> {
  const installed = join(peerFolder, "node_modules", "node-llama-cpp", "package.json");
  if (!existsSync(installed)) {
    say(`installing node-llama-cpp@${version} into .cache/peer`);
    npmInstall([`node-llama-cpp@${version}`, `@node-llama-cpp/${platform()}@${version}`]);
  }
  const script = join(root, "bench", "driver", "node_llama.mjs");
  return await startDriver("node", [script, peerFolder, model, String(threads)]);
}

function platform(): string {
  const found = `${process.platform}-${process.arch}`;
  if (found !== "linux-x64") {
    throw new Error(
      `Expected linux-x64, where the peer is known to work, but found ${found}; --no-peer leaves it out`,
    );
  }
  return found;
}

/** Returns the folder with the shared libraries. */
function install(say: (text: string) => void): string {
  const name = platform();
  const libraries = join(peerFolder, "node_modules", "@node-llama-cpp", name, "bins", name);
  if (!existsSync(join(libraries, "libllama.v0.5.0.so"))) {
    say(`installing the peer, @node-llama-cpp/${name}@${version} (16 MB), into .cache/peer`);
    npmInstall([`@node-llama-cpp/${name}@${version}`]);
  }
  return libraries;
}

function npmInstall(packages: readonly string[]): void {
  mkdirSync(peerFolder, { recursive: true });
  writeFileSync(join(peerFolder, "package.json"), `{ "private": true }\n`);
  must("npm", [
    ...["install", "--prefix", peerFolder, "--no-save", "--no-package-lock", "--ignore-scripts"],
    ...["--no-audit", "--no-fund", "--omit=optional", ...packages],
  ]);
}

/** A folder in which the only CPU back end is the one wanted; made anew, as the libraries may have moved. */
function backEndFolder(libraries: string, variant: string): string {
  const wanted = backEnds[variant];
  if (wanted === undefined) return libraries;
  const folder = join(peerFolder, `only-${wanted}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(libraries)) {
    if (file.startsWith("libggml-cpu-") && file !== `libggml-cpu-${wanted}.so`) continue;
    symlinkSync(join(libraries, file), join(folder, file));
  }
  return folder;
}
