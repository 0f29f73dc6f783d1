/**
 * Microseconds of every sampler stage on many candidates, beside the same stage of llama.cpp in one run: a
 * whole draw with the stage alone, from logits to a token, in turns. The row `none` is a draw without any
 * stage; what a stage adds to it may be less than nothing, because fewer candidates are faster to draw from.
 *
 * usage: bun run bench/sampler_stages.ts [--candidates 128000] [--rounds 11] [--no-peer] [--json]
 *          [--out FILE.json] [--page PAGE.md]
 *        deno run -A bench/sampler_stages.ts …
 *
 * @module
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { note, print, printJson, ProgressBar, table } from "../cli/output.ts";
import { engineInfo } from "../mod.ts";
import { cacheFolder } from "../src/store/cache_folder.ts";
import type { Driver } from "./driver.ts";
import { generateModel } from "./generate.ts";
import { describeMachine } from "./machine.ts";
import { tableLines } from "./markdown.ts";
import { peerName, startPeer } from "./peer.ts";
import { machineText } from "./report.ts";
import { type Shape, shapes } from "./shapes.ts";
import { measureStages, stageCells, stageColumns, type StageSpeed } from "./stage_speed.ts";

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    candidates: { type: "string", default: "128000" },
    rounds: { type: "string", default: "11" },
    "no-peer": { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    out: { type: "string" },
    page: { type: "string" },
  },
});

const [candidates, rounds] = [Number(values.candidates), Number(values.rounds)];
if (!(Number.isInteger(candidates) && candidates >= 64 && candidates <= 1 << 24)) {
  throw new RangeError(`Expected 64 to ${1 << 24} candidates, but found ${values.candidates}`);
}
if (!(Number.isInteger(rounds) && rounds >= 1)) {
  throw new RangeError(`Expected a whole number of rounds from 1, but found ${values.rounds}`);
}
/** How long the draws of one round take: long against a clock, short against what disturbs. */
const roundMs = 25;

/** llama.cpp wants a model; its stages don't. */
async function openPeer(variant: string): Promise<Driver> {
  const folder = join(cacheFolder(), "bench");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "bench-tiny-Q8_0.gguf");
  generateModel(path, "tiny", shapes["tiny"] as Shape, "Q8_0");
  return await startPeer(path, 1, variant, true, (text) => note(`${text}\n`));
}

const info = await engineInfo();
const bar = new ProgressBar((value) => `${value} stages`);
await using peers = new AsyncDisposableStack();
const peer = values["no-peer"] ? undefined : peers.use(await openPeer(""));
let rows: StageSpeed[];
try {
  rows = await measureStages({
    ...{ candidates, rounds, roundMs, peer },
    onProgress: ({ done, total }) => bar.show("measuring", done, total),
  });
} finally {
  bar.end();
}
const result = {
  when: new Date().toISOString(),
  engine: info.version,
  ...(peer !== undefined && { peer: peerName }),
  machine: describeMachine(),
  ...{ candidates, rounds, rows },
};
if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 1)}\n`);
if (values.page !== undefined) writeFileSync(values.page, pageOf());
if (values.json) printJson(result);
else print(table([stageColumns, ...rows.map(stageCells)]));

function pageOf(): string {
  return [
    "# Microseconds of each sampler stage",
    "",
    "A whole draw, from logits to a token, with one stage: the row `none` is a draw without any, and",
    "`default` the chain whose target is 150 µs. Where few candidates are left, the draw behind the stage is",
    "cheaper, so that a stage may take less than none. One core, in turns with the same stage of llama.cpp",
    "where it has one; medians with the least and the most of the rounds. The logits are nearly normal with a",
    "deviation of 3: flatter than a model's, which is the hard case for what looks at the tail. Draws of",
    "`sampleLogits`, which returns tokens, make no log-probabilities; a step of a session has them, for one",
    "more pass over all logits: the difference of `none` and `greedy`, about.",
    "",
    "```sh",
    "bun run bench/sampler_stages.ts --page docs/sampler_stages.md --out bench/results/sampler_stages.json",
    "```",
    "",
    `${candidates} candidates, ${rounds} rounds on ${result.when.slice(0, 10)}, ` +
    `Vitrine ${info.version}${peer === undefined ? "" : ` beside ${peerName}`}.`,
    machineText(result.machine) + ".",
    "",
    ...tableLines(
      stageColumns,
      rows.map((row) => stageCells(row).map((cell) => cell === "" ? "–" : cell)),
    ),
    "",
  ].join("\n");
}
