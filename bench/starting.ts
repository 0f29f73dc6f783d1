/**
 * From the start of a process until its first token: the runtime, the library, the model, a prompt of five
 * words. SmolLM2 on each runtime, with everything in the page cache, as at the second start of a script.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { resolveModel } from "../mod.ts";
import { root } from "./driver.ts";
import { runtimes } from "./engine.ts";
import type { Listener, Plan } from "./matrix.ts";
import type { Row } from "./result.ts";
import { spread } from "./statistics.ts";
import { startTarget } from "./targets.ts";

const script = join(root, "bench", "first_token.ts");

/** A row for each runtime, measured in turns. */
export async function startingRows(plan: Plan, listener: Listener): Promise<Row[]> {
  listener.say("first token");
  const model = await resolveModel("smollm2", { signal: plan.signal });
  const sides = runtimes().map((runtime) => ({ ...runtime, times: [] as number[] }));
  // The first round fills the page cache and, in a runtime, the cache of compiled modules.
  for (let i = 0; i <= plan.rounds; i++) {
    for (const { program, args, times } of sides) {
      plan.signal.throwIfAborted();
      const ms = await untilFirstToken(program, [...args, script, model]);
      if (i > 0) times.push(ms);
    }
  }
  return sides.map(({ name, times }) => ({
    workload: "start",
    title: `first token of SmolLM2 from the start of the process, ${name}`,
    unit: "ms",
    ours: spread(times),
    target: startTarget,
  }));
}

/** Milliseconds from starting a program until it writes something; waits until it ended. */
function untilFirstToken(program: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const begun = performance.now();
    let ms: number | undefined;
    let errors = "";
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", () => ms ??= performance.now() - begun);
    child.stderr.on("data", (chunk) => errors += chunk);
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0 && ms !== undefined) resolve(ms);
      else reject(new Error(`Expected a token from ${program}, but found: ${errors.trim()}`));
    });
  });
}
