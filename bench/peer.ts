/**
 * The peer of the benchmark: llama.cpp from the npm package `@node-llama-cpp`, which carries its
 * prebuilt libraries with one CPU back end for each x86 level. It is installed on demand into
 * `.cache/peer` of the repository and is never a dependency of the product. A small C program
 * (`peer.c`, compiled with `zig cc`) drives it in a process of its own.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** What the peer is called in results. */
export const peerName = "llama.cpp v0.5.0 (@node-llama-cpp 3.22.1)";

const version = "3.22.1";
const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, ".cache", "peer");

/** A running peer. */
export interface Peer extends AsyncDisposable {
  /** Empties the cache and reads `count` tokens. Returns milliseconds. */
  prefill(count: number): Promise<number>;
  /** Generates `count` tokens greedily. Returns milliseconds and a hash of the tokens. */
  decode(count: number): Promise<{ ms: number; hash: number }>;
}

/** The ids that both engines read. */
export function benchTokens(count: number, vocabulary: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, i) => (1000 + 37 * i) % vocabulary);
}

/** Continues the hash (FNV-1a over ids) that `decode` returns. */
export function hashToken(hash: number, token: number): number {
  return Math.imul(hash ^ token, 16777619) >>> 0;
}

/** Where the hash begins. */
export const hashSeed = 2166136261;

/** Installs the peer where it is missing, and starts it. `say` is told what is going on. */
export async function openPeer(
  model: string,
  threads: number,
  context: number,
  say: (text: string) => void,
): Promise<Peer> {
  const libraries = install(say);
  const program = compile(say);
  const child = spawn(program, [libraries, model, String(threads), String(context)], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  let errors = "";
  child.stderr?.on("data", (chunk) => errors = (errors + String(chunk)).slice(-2000));
  const answers = answersOf(child, () => errors);
  const first = await answers.next();
  if (first.value !== "ready") {
    throw new Error(`Expected the peer to be ready, but found ${first.value}`);
  }
  const ask = async (command: string): Promise<[number, number]> => {
    child.stdin?.write(`${command}\n`);
    const { value } = await answers.next();
    const [ms, hash] = String(value).split(" ").map(Number);
    if (ms === undefined || hash === undefined || !(ms > 0)) {
      throw new Error(`Expected a time from the peer, but found ${JSON.stringify(value)}`);
    }
    return [ms, hash];
  };
  return {
    prefill: async (count) => (await ask(`prefill ${count}`))[0],
    decode: async (count) => {
      const [ms, hash] = await ask(`decode ${count}`);
      return { ms, hash };
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.stdin?.end();
      await ended;
    },
  };
}

/** The lines that the child writes; its end is an error, because it is asked before it is ended. */
async function* answersOf(
  child: ChildProcess,
  errors: () => string,
): AsyncGenerator<string, never> {
  const stdout = child.stdout;
  if (stdout === null) throw new Error("Expected a pipe from the peer");
  for await (const line of createInterface({ input: stdout })) yield line;
  throw new Error(`Expected an answer from the peer, but it ended: ${errors().trim()}`);
}

/** Returns the folder with the shared libraries. */
function install(say: (text: string) => void): string {
  const platform = `${process.platform}-${process.arch}`;
  if (platform !== "linux-x64") {
    throw new Error(
      `Expected linux-x64, where the peer is known to work, but found ${platform}; --no-peer leaves it out`,
    );
  }
  const libraries = join(folder, "node_modules", "@node-llama-cpp", platform, "bins", platform);
  if (!existsSync(join(libraries, "libllama.v0.5.0.so"))) {
    say(`installing the peer, @node-llama-cpp/${platform}@${version} (16 MB), into .cache/peer`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), `{ "private": true }\n`);
    must("npm", [
      ...["install", "--prefix", folder, "--no-save", "--no-package-lock", "--ignore-scripts"],
      ...["--no-audit", "--no-fund", `@node-llama-cpp/${platform}@${version}`],
    ]);
  }
  return libraries;
}

/** Returns the path of the compiled driver. */
function compile(say: (text: string) => void): string {
  const source = join(root, "bench", "peer.c");
  const program = join(folder, "peer");
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return program;
  say("compiling the driver of the peer with zig cc");
  must(zigPath(), ["cc", "-O2", "-lc", "-ldl", "-o", program, source]);
  return program;
}

/** The Zig that set-up chose; the one on PATH where set-up never ran. */
export function zigPath(): string {
  try {
    const tools = readFileSync(join(root, ".setup", "tools"), "utf8");
    // The shell wrote it with its quoting.
    const path = /^VITRINE_ZIG=(.+)$/m.exec(tools)?.[1]?.replace(/\\(.)/g, "$1");
    if (path !== undefined && existsSync(path)) return path;
  } catch {
    // Set-up never ran here.
  }
  return "zig";
}

function must(program: string, args: readonly string[]): void {
  const run = spawnSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (run.status === 0) return;
  const found = run.error?.message ?? run.stderr.trim().split("\n").slice(-5).join("\n");
  throw new Error(`Expected ${program} ${args[0]} to work, but found: ${found}`);
}
