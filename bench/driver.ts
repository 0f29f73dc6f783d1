/**
 * A driver as a child process: one engine with one model, asked one command at a time. The commands
 * are those of `driver/main.c`; programs in other languages speak the same lines.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** The repository. */
export const root = fileURLToPath(new URL("..", import.meta.url));
/** Where peers are kept. */
export const peerFolder = join(root, ".cache", "peer");
/** Where compiled drivers are kept. */
const driverFolder = join(root, "zig-out", "bench");

/** A running driver. */
export interface Driver extends AsyncDisposable {
  /** Time from the start of loading until the model could be used, as the driver measured it. */
  readonly loadMs: number;
  /** Sends one command and returns the numbers of its answer. */
  ask(command: string, ...values: readonly (number | string)[]): Promise<number[]>;
}

/** Starts a driver and waits until its model is loaded. */
export async function startDriver(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<Driver> {
  const child = spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...environment },
  });
  let errors = "";
  child.stderr?.on("data", (chunk) => errors = (errors + String(chunk)).slice(-2000));
  child.stdin?.on("error", () => {});
  const answers = answersOf(child, () => errors);
  const first = /^ready ([\d.]+)$/.exec(String((await answers.next()).value));
  if (first === null) throw new Error(`Expected ${program} to be ready, but found ${errors}`);
  return {
    loadMs: Number(first[1]),
    ask: async (command, ...values) => {
      child.stdin?.write(`${[command, ...values].join(" ")}\n`);
      const { value } = await answers.next();
      const numbers = String(value).split(" ").map(Number);
      if (numbers.some((number) => !Number.isFinite(number))) {
        throw new Error(`Expected numbers after ${command}, but found ${JSON.stringify(value)}`);
      }
      return numbers;
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
  let failure: Error | undefined;
  child.once("error", (error) => failure = error);
  const gone = new Promise<string>((resolve) =>
    child.once("close", (code, signal) => resolve(signal ?? `exit code ${code}`))
  );
  const stdout = child.stdout;
  if (stdout === null) throw new Error("Expected a pipe from the driver");
  for await (const line of createInterface({ input: stdout })) yield line;
  // A driver that was killed says nothing itself.
  const how = failure?.message ?? await gone;
  const reason = `${how}: ${errors().trim().split("\n").slice(-5).join("; ") || "no message"}`;
  throw new Error(`Expected an answer from ${child.spawnfile}, but it ended: ${reason}`);
}

/** Compiles a driver of `driver/` with `zig cc`, when its sources are newer. Returns its path. */
export function compileDriver(
  name: "vitrine" | "llamacpp",
  extra: readonly string[],
  say: (text: string) => void,
  dependencies: readonly string[] = [],
): string {
  const folder = join(root, "bench", "driver");
  const sources = ["main.c", `${name}.c`].map((file) => join(folder, file));
  const program = join(driverFolder, `driver-${name}`);
  const newest = [...sources, join(folder, "driver.h"), ...dependencies]
    .map((file) => statSync(file).mtimeMs).reduce((a, b) => Math.max(a, b));
  if (existsSync(program) && statSync(program).mtimeMs > newest) return program;
  say(`compiling the driver of ${name} with zig cc`);
  mkdirSync(driverFolder, { recursive: true });
  must(zigPath(), ["cc", "-O2", "-lc", ...extra, "-o", program, ...sources]);
  return program;
}

/** The Zig that set-up chose; the one on PATH where set-up never ran. */
export function zigPath(): string {
  return toolPath("VITRINE_ZIG") ?? "zig";
}

/** A tool that set-up chose, by its name in `.setup/tools`. */
export function toolPath(name: string): string | undefined {
  try {
    const tools = readFileSync(join(root, ".setup", "tools"), "utf8");
    // The shell wrote it with its quoting.
    const path = new RegExp(`^${name}=(.+)$`, "m").exec(tools)?.[1]?.replace(/\\(.)/g, "$1");
    if (path !== undefined && existsSync(path)) return path;
  } catch {
    // Set-up never ran here.
  }
  return undefined;
}

/** Runs a program that must succeed. */
export function must(program: string, args: readonly string[]): string {
  const run = spawnSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  if (run.status === 0) return run.stdout;
  const found = run.error?.message ?? run.stderr.trim().split("\n").slice(-5).join("\n");
  throw new Error(`Expected ${program} ${args[0]} to work, but found: ${found}`);
}
