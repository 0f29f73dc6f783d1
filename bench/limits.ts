/**
 * The limits of the machine for any CPU variant: the engine reads VITRINE_CPU once, so that another
 * variant needs a process of its own, which is this file as a program.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type MachineLimits, measureLimits } from "../mod.ts";

/** Measures the limits of a CPU variant; of the best one if the name is empty. */
export function limitsOfVariant(
  variant: string,
  threads: number | undefined,
  mebibytes: number | undefined,
): MachineLimits {
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const script = fileURLToPath(import.meta.url);
  const options = JSON.stringify({ threads, mebibytes });
  const run = spawnSync(process.execPath, [...runtime, script, options], {
    encoding: "utf8",
    env: { ...process.env, ...(variant !== "" && { VITRINE_CPU: variant }) },
  });
  if (run.status !== 0) {
    throw new Error(
      run.stdout.trim() || run.stderr.trim() || "Expected limits, but the process ended",
    );
  }
  return JSON.parse(run.stdout);
}

if (import.meta.main) {
  try {
    const options = JSON.parse(process.argv[2] ?? "{}");
    process.stdout.write(JSON.stringify(await measureLimits(options)));
  } catch (error) {
    process.stdout.write(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
