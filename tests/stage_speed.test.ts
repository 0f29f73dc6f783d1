/** The table of microseconds a stage: every stage of the registry has a row, and the peer is asked in its words. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Driver } from "../bench/driver.ts";
import { madeLogits, measureStages, stageCells, stageColumns } from "../bench/stage_speed.ts";
import { parseSampler, sampleLogits } from "../mod.ts";
import { SamplerStages } from "../src/ffi/symbols.gen.ts";

const speed = suite("microseconds of stages");

speed("every stage of the registry is measured, or says why not", async () => {
  const asked: string[] = [];
  const peer: Driver = {
    loadMs: 0,
    ask: (command, ...values) => {
      assert.equal([command, values[0]], ["chain", 500]);
      asked.push(String(values[2]));
      // Half a millisecond a draw.
      return Promise.resolve([0.5 * Number(values[1])]);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const seen: number[] = [];
  const rows = await measureStages({
    ...{ candidates: 500, rounds: 2, roundMs: 0.2, peer },
    onProgress: ({ done }) => seen.push(done),
  });
  const names = Object.keys(SamplerStages).filter((name) => name !== "script");
  assert.equal(rows.map(({ stage }) => stage), ["none", ...names, "default"]);
  assert.equal(seen, rows.map((_, i) => i));
  for (const { stage, chain, ours, skipped, peer } of rows) {
    if (skipped !== undefined) assert.match(skipped, /./);
    else {
      assert.ok(ours!.min > 0 && ours!.median <= ours!.max && ours!.rounds === 2, stage);
      assert.ok(peer === undefined || peer.micros.median === 500);
      // What is printed can be read back.
      if (chain !== "") await sampleLogits(madeLogits(64), { sampler: parseSampler(chain) });
    }
  }
  const whole = rows.at(-1)!;
  assert.is(whole.chain, "temperature=0.8,top-k=40,top-p=0.9");
  assert.is(whole.peer!.chain, "temp:0.8,top_k:40,top_p:0.9");
  for (const chain of ["none", "top_p:0.9", "xtc:0.5:0.1"]) assert.ok(asked.includes(chain), chain);
  for (const row of rows) {
    const cells = stageCells(row);
    assert.ok(cells.length === stageColumns.length || row.skipped !== undefined);
  }
});

speed("logits are those of the driver", () => {
  // Four terms of xorshift32 from 1: 270369, 67634689, 2647435461, 307599695.
  const sum = [270369, 67634689, 2647435461, 307599695].reduce(
    (all, x) => all + x / 2 ** 31 - 1,
    0,
  );
  const logits = madeLogits(100_000);
  assert.ok(Math.abs(logits[0]! - 2.6 * sum) < 1e-5);
  const mean = logits.reduce((all, x) => all + x, 0) / logits.length;
  const variance = logits.reduce((all, x) => all + (x - mean) ** 2, 0) / logits.length;
  // Four numbers from -1 to 1, each of variance 1/3.
  assert.ok(Math.abs(mean) < 0.05 && Math.abs(variance - 2.6 ** 2 * 4 / 3) < 0.1);
});

speed.run();
