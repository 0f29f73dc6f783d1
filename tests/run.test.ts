/**
 * The runner is itself under test: each way in which a test file can go wrong without a failing
 * assertion must be counted as a failure.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const folder = dirname(fileURLToPath(import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];

/** Runs the runner over a folder that holds one file, and returns its last line and exit status. */
function runOn(source: string | undefined, seconds = 60): { line: string; status: number | null } {
  // The folder lies inside the repository, so that the file finds uvu.
  const made = mkdtempSync(join(folder, "made-"));
  try {
    if (source !== undefined) writeFileSync(join(made, "one.test.ts"), source);
    const run = spawnSync(process.execPath, [...runtimeArguments, join(folder, "run.ts")], {
      encoding: "utf8",
      env: {
        ...process.env,
        VITRINE_TEST_FOLDER: made,
        VITRINE_TEST_SECONDS: String(seconds),
      },
    });
    return { line: run.stdout.trimEnd().split("\n").at(-1) ?? "", status: run.status };
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

const header = `import { suite, test } from "uvu"; import * as assert from "uvu/assert";\n`;
const good = `test("good", () => assert.is(1, 1));\n`;

const cases: [name: string, source: string | undefined, line: string][] = [
  ["tests that pass", `${header}${good}test.run();`, "1 passed, 0 failed"],
  [
    "a test that fails",
    `${header}${good}test("bad", () => assert.is(1, 2)); test.run();`,
    "1 passed, 1 failed",
  ],
  ["a folder without files", undefined, "0 passed, 1 failed"],
  ["a file without tests", header, "0 passed, 1 failed"],
  ["a suite that is never run", `${header}${good}`, "0 passed, 1 failed"],
  ["a file that does not parse", "const const;", "0 passed, 1 failed"],
  [
    "a file that throws",
    `${header}${good}test.run(); throw new Error("broken");`,
    "0 passed, 1 failed",
  ],
  [
    "an early end with status 0",
    `${header}${good}test("exit", () => process.exit(0)); test.run();`,
    "0 passed, 1 failed",
  ],
  [
    "a test that never settles",
    `${header}${good}test("hang", () => new Promise(() => {})); test.run();`,
    "0 passed, 1 failed",
  ],
  [
    "a hook that throws",
    `${header}const s = suite("s"); s.before(() => { throw new Error("hook"); }); s("good", () => {}); s.run();`,
    "0 passed, 1 failed",
  ],
  [
    "a second suite that fails",
    `${header}${good}test.run(); const s = suite("s"); s("bad", () => assert.unreachable()); s.run();`,
    "1 passed, 1 failed",
  ],
];

for (const [name, source, line] of cases) {
  test(`the runner counts ${name}`, () => {
    const run = runOn(source);
    assert.is(run.line, line);
    assert.is(run.status, line.endsWith(" 0 failed") ? 0 : 1);
  });
}

test("the runner ends a file that takes too long", () => {
  const run = runOn(
    `${header}test("slow", () => new Promise((r) => setTimeout(r, 60_000))); test.run();`,
    2,
  );
  assert.is(run.line, "0 passed, 1 failed");
});

test.run();
