/** `vitrine run --evict`, run as a user runs it. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tinyModel } from "./support/tiny_model.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const model = tinyModel({ context: 512 });

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const few = ["run", model, "Once upon a time", "--raw", "--greedy", "-n", "40", "-t", "1"];
  return spawnSync(process.execPath, [...runtime, main, ...few, ...args], { encoding: "utf8" });
}

const evicting = suite("vitrine run --evict");

evicting("evicts, and says how many", () => {
  const { status, stdout, stderr } = run("--evict", "window=2:12:4", "--json");
  assert.is(status, 0, stderr);
  const found = JSON.parse(stdout);
  const { evicted_tokens: evicted, kept_tokens: kept, ...policy } = found.evict;
  assert.equal(policy, { name: "sliding_window", budget: 14, sinks: 2, recent: 12, every: 4 });
  assert.is(evicted + kept, found.prompt_tokens.length + found.tokens.length);
  assert.ok(kept <= 19 && evicted > 0);
  assert.match(run("--evict", "tova=14").stderr, / · \d+ tokens evicted · /);
});

evicting.run();
