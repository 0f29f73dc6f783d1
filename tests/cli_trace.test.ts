/** `vitrine trace` and what `vitrine samplers` has beside it, run as a user runs them. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readTape } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const model = tinyModel({ context: 512 });
const folder = mkdtempSync(join(tmpdir(), "vitrine-trace-"));

function vitrine(args: string[]): { status: number | null; stdout: string; stderr: string } {
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  return spawnSync(process.execPath, [...runtime, main, ...args], { encoding: "utf8" });
}

// deno-lint-ignore no-explicit-any
function json(args: string[]): any {
  const { status, stdout, stderr } = vitrine([...args, "--json"]);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}

const traces = suite("vitrine trace");
traces.after(() => rmSync(folder, { recursive: true, force: true }));

traces("a table, JSON, a chart, and a tape", () => {
  const [chart, tape] = [join(folder, "trace.svg"), join(folder, "trace.tape")];
  const few = ["trace", model, "The sea was", "-n", "6", "--threads", "2", "--seed", "3"];
  const chain = ["--sampler", "temp=0.8,top-p=0.9"];
  const found = json([...few, ...chain, "--candidates", "4", "--svg", chart, "--tape", tape]);
  assert.is(found.sampler, "temperature=0.8,top-p=0.9");
  assert.is(found.seed, 3);
  const { trace } = found;
  assert.is(trace.text.join("").length >= 1, true);
  const alone = json(["run", model, "The sea was", "--raw", ...few.slice(3), ...chain]);
  assert.equal(trace.token, alone.tokens);
  assert.equal(trace.stages.map((stage: { name: string }) => stage.name), [
    "temperature=0.8",
    "top-p=0.9",
  ]);
  const { left, state } = trace.stages[1];
  assert.equal(state, trace.token.map(() => null));
  for (const [step, best] of left.top.entries()) {
    assert.is(best.length, Math.min(4, left.candidates[step]));
    assert.ok(best[0].probability >= best.at(-1).probability);
  }
  assert.match(readFileSync(chart, "utf8"), /^<svg .*after top-p=0.9/s);
  assert.equal(Array.from(readTape(tape).tokens), trace.token);
  const people = vitrine([...few, ...chain]);
  assert.match(people.stdout, /^token +rank +p +entropy +temperature=0.8 +share +entropy +µs/);
  assert.is(people.stdout.trim().split("\n").length, 1 + trace.steps);
  assert.match(people.stderr, /sampler: temperature=0.8,top-p=0.9; seed 3/);
});

traces("what is wrong is said", () => {
  const { status, stderr } = vitrine(["trace", model, "a", "--candidates", "5000"]);
  assert.is(status, 2);
  assert.match(stderr, /from 0 to 4096 after --candidates/);
});
traces("samplers compared beside a text that none wrote", () => {
  const [file, story, chart] = ["p.txt", "story.txt", "s.svg"].map((name) => join(folder, name));
  writeFileSync(file!, "The sea was\nNobody knew why\n");
  writeFileSync(story!, "The keeper went down to the sea. ".repeat(8));
  const few = ["samplers", model, "compare", "-f", file!, "--trials", "2", "-n", "8"];
  const command = [...few, "--samplers", "greedy;temp=0.8;", "--svg", chart!];
  const { reference } = json([...command, "--reference", story!]);
  assert.ok(reference.texts > 1 && reference.measures.perplexity.mean > 1);
  assert.ok(["greedy", "temperature=0.8", ""].includes(reference.nearest.perplexity));
  assert.is(readFileSync(chart!, "utf8").match(/<circle/g)?.length, 4);
  const beside = vitrine([...command, "--reference", story!]);
  assert.match(beside.stdout, /\nreference +\d.*\nnearest to it +\S/);
  writeFileSync(story!, "the sea");
  const short = vitrine([...command, "--reference", story!]);
  assert.is(short.status, 2);
  assert.match(short.stderr, /at least 24 tokens in .*, but found \d/);
});

traces.run();
