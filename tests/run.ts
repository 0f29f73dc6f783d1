/**
 * Runs the TypeScript tests of this folder under the runtime that runs this file, and ends with one
 * line `N passed, N failed`.
 *
 * usage: bun run tests/run.ts [NAME…]     deno run -A tests/run.ts [NAME…]
 *
 * Each `*.test.ts` runs in a process of its own, so that a crash in native code fails that file and
 * not the run. A file fails, beyond its failing tests, when it registers no test, when its process
 * ends before its last test, when it takes longer than `VITRINE_TEST_SECONDS` (default 300), or
 * when a hook throws (uvu itself counts that as success). NAME picks the files whose name contains it.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

/** What the process of one file leaves behind. */
interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

/** What uvu keeps for a suite: runs it and returns its error text, and how many ran, were skipped, and exist. */
type UvuSuite = () => Promise<[string | boolean, number, number, number]>;

const self = fileURLToPath(import.meta.url);
const isDeno = "Deno" in globalThis;

function print(text: string): void {
  process.stdout.write(text);
}

/** In the child: registers the tests of one file, runs them, and writes the outcome to `resultPath`. */
async function runFile(path: string, resultPath: string): Promise<void> {
  // uvu reads these when it is first imported: without them it runs the tests by itself, and a
  // failure would not reach the exit status.
  const queue: [null, ...UvuSuite[]] = [null];
  Object.assign(globalThis, { UVU_DEFER: 1, UVU_QUEUE: [queue], UVU_INDEX: 0 });
  await import(pathToFileURL(path).href);

  const outcome: Outcome = { passed: 0, failed: 0, skipped: 0 };
  for (const suite of queue.slice(1) as UvuSuite[]) {
    const [errors, passed, skipped, total] = await suite();
    outcome.passed += passed;
    outcome.failed += total - passed;
    outcome.skipped += skipped;
    if (typeof errors === "string") print(`\n${errors}\n`);
    else if (passed !== total) print(`\n  a hook of this suite threw: ${passed} of ${total} ran\n`);
  }
  writeFileSync(resultPath, JSON.stringify(outcome));
  // Whatever a test left open must not keep the process: its outcome is known.
  process.exit(outcome.failed === 0 ? 0 : 1);
}

/** Waits for the end of a child; kills it after `seconds`. Returns what is wrong with its end, or nothing. */
function ending(child: ChildProcess, seconds: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, seconds * 1000);
    const finish = (problem: string | undefined) => {
      clearTimeout(timer);
      resolve(problem);
    };
    child.once("error", (error) => finish(error.message));
    child.once("exit", (code, signal) => {
      if (late) finish(`did not end within ${seconds} s`);
      else if (signal !== null) finish(`was ended by ${signal}`);
      else if (code !== 0) finish(`ended with exit status ${code}`);
      else finish(undefined);
    });
  });
}

/** In the parent: runs one file in a child and judges how it went. */
async function judgeFile(path: string, resultPath: string, seconds: number): Promise<Outcome> {
  const started = performance.now();
  const runtimeArguments = isDeno ? ["run", "--quiet", "--allow-all"] : ["run"];
  const child = spawn(process.execPath, [...runtimeArguments, self, "--file", path, resultPath], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, FORCE_COLOR: "0", NO_COLOR: "1" },
  });
  const problem = await ending(child, seconds);
  const outcome: Outcome = { passed: 0, failed: 0, skipped: 0 };
  let fault: string | undefined;
  try {
    Object.assign(outcome, JSON.parse(readFileSync(resultPath, "utf8")));
  } catch {
    fault = `${problem ?? "ended"} before its last test`;
  }
  const registered = outcome.passed + outcome.failed + outcome.skipped;
  if (fault === undefined && registered === 0) fault = "registers no test";
  if (fault === undefined && outcome.failed === 0) fault = problem;
  if (fault !== undefined) {
    outcome.failed += 1;
    print(`\n${basename(path)}: ${fault}\n`);
  }
  const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
  const time = ((performance.now() - started) / 1000).toFixed(1);
  print(
    `${basename(path)}: ${outcome.passed} passed, ${outcome.failed} failed${skipped} (${time} s)\n`,
  );
  return outcome;
}

async function runAll(names: string[]): Promise<number> {
  const folder = process.env["VITRINE_TEST_FOLDER"] ?? dirname(self);
  const seconds = Number(process.env["VITRINE_TEST_SECONDS"] ?? 300);
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => names.length === 0 || names.some((part) => name.includes(part)))
    .sort();
  const results = mkdtempSync(join(tmpdir(), "vitrine-tests-"));
  let passed = 0;
  let failed = 0;
  try {
    for (const name of files) {
      const outcome = await judgeFile(join(folder, name), join(results, name), seconds);
      passed += outcome.passed;
      failed += outcome.failed;
    }
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
  if (files.length === 0) {
    print(
      `Expected test files in ${folder} named like ${names.join(", ") || "*"}, but found none\n`,
    );
    failed += 1;
  }
  print(`${passed} passed, ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

// No top-level await: Bun spins on one that can never settle, where a plain promise lets the process
// end, and an early end is what the parent looks for.
const [first, path, resultPath] = process.argv.slice(2);
const main = first === "--file" && path !== undefined && resultPath !== undefined
  ? runFile(path, resultPath)
  : runAll(process.argv.slice(2)).then((status) => process.exit(status));
main.catch((error) => {
  print(`${error instanceof Error ? error.stack : error}\n`);
  process.exit(1);
});
