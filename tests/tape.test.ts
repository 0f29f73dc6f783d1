/** Logit tapes: drawing, comparing, orders of stages, files; against the session that recorded them. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  customStage,
  type EngineError,
  greedy,
  loadModel,
  type LogitTape,
  minP,
  readTape,
  type SamplerStage,
  type TapeOptions,
  temperature,
  topK,
  topP,
  xtc,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const prompt = Array.from({ length: 20 }, (_, i) => 3 + (i * 7) % 250);
const sampler = [temperature(1.2), topK(20), xtc(0.5, 0.05)];

/** A tape of 24 steps and their logits, as the session has them. */
async function recorded(
  options: TapeOptions | true,
  chain: readonly SamplerStage[] = sampler,
  seed = 5,
): Promise<{ tape: LogitTape; tokens: number[]; rows: Float32Array<ArrayBuffer>[] }> {
  using model = await loadModel(path, { threads: 2 });
  using session = model.session();
  const generation = session.generate(prompt, {
    sampler: chain,
    seed,
    maxTokens: 24,
    ignoreEnd: true,
    tape: options,
  });
  const tokens = await Array.fromAsync(generation, ({ token }) => token);
  using other = model.session();
  await other.prefill([...prompt, ...tokens], { allLogits: true });
  const rows = tokens.map((_, i) => other.logits(prompt.length - 1 + i));
  return { tape: generation.tape as LogitTape, tokens, rows };
}

const folder = mkdtempSync(join(tmpdir(), "vitrine-tape-"));
const tapes = suite("logit tape");
tapes.after(() => rmSync(folder, { recursive: true, force: true }));

tapes("rows are the session's logits, all or the highest", async () => {
  const { tape, tokens, rows } = await recorded(true);
  assert.equal(Array.from(tape.tokens), tokens);
  assert.equal(Array.from(tape.positions), tokens.map((_, i) => prompt.length + i));
  for (const [step, logits] of rows.entries()) {
    const row = tape.row(step);
    assert.equal(row.logits, logits);
    assert.equal(row.tokens.length, logits.length);
    assert.is(row.rest, -Infinity);
    assert.is(row.token, tokens[step]);
  }
  const { tape: half } = await recorded({ kind: "f16" });
  const { tape: best } = await recorded({ top: 30 });
  assert.is(best.header.kind, "top");
  for (const [step, logits] of rows.entries()) {
    for (const [id, logit] of half.row(step).logits.entries()) {
      const exact = logits[id] as number;
      assert.ok(Math.abs(logit - exact) <= Math.abs(exact) / 2048 + 1e-7, `${logit}, ${exact}`);
    }
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
    const row = best.row(step);
    assert.equal(Array.from(row.tokens), order.slice(0, 30).sort((a, b) => a - b));
    assert.equal(Array.from(row.logits), Array.from(row.tokens, (id) => logits[id]));
    const rest = Math.log(order.slice(30).reduce((sum, id) => sum + Math.exp(logits[id]!), 0));
    assert.ok(Math.abs(row.rest - rest) < 1e-4, `${row.rest}, ${rest}`);
  }
});

tapes(
  "the recorded chain draws the recorded tokens, another one what its session draws",
  async () => {
    const { tape } = await recorded(true);
    assert.equal((await tape.replay()).differences, []);
    // Up to where they part, another chain's own session has the same tokens.
    for (const chain of [[], [minP(0.2)], [temperature(0.5), topP(0.7)], [greedy()]]) {
      const { tokens, differences } = await tape.counterfactual(chain);
      const { tokens: own } = await recorded(true, chain);
      const parts = differences[0]?.step ?? tokens.length - 1;
      assert.equal(Array.from(tokens.subarray(0, parts + 1)), own.slice(0, parts + 1));
      for (const { step, position, recorded, chosen } of differences) {
        assert.is(position, tape.positions[step]);
        assert.is(recorded, tape.tokens[step]);
        assert.is(chosen, tokens[step]);
        assert.is.not(chosen, recorded);
      }
    }
    const { tape: highest } = await recorded({ top: 20 });
    assert.equal((await highest.replay()).differences, []);
  },
);

tapes("a chain with functions is replayed while it is there", async () => {
  const half = customStage("half", ({ logits }) => logits.map((x) => x / 2));
  const { tape } = await recorded(true, [half, topP(0.8)]);
  assert.equal((await tape.replay()).differences, []);
  const file = join(folder, "function.tape");
  tape.save(file);
  const saved = readTape(file);
  const { message } = await rejection(saved.replay());
  assert.match(message, /notation says whole, but found "function:half,.*counterfactual/);
  assert.equal((await saved.counterfactual([half, topP(0.8)])).differences, []);
  rmSync(file);
});

tapes("draws follow the distribution that a chain leaves", async () => {
  for (const options of [true, { kind: "f16" }, { top: 40 }] as const) {
    const { tape } = await recorded(options);
    const chain = [temperature(1.5), topK(6)];
    const draws = 4000;
    const tokens = await tape.sample(chain, { draws, seed: 11 });
    assert.is(tokens.length, 24 * draws);
    const own = await tape.sample(chain, { seed: 11 });
    for (const step of [0, 7, 23]) {
      assert.is(own[step], tokens[step * draws]);
      const shares = await tape.distribution(chain, step);
      const { tokens: ids } = tape.row(step);
      const kept = Array.from(shares.keys()).filter((i) => shares[i]! > 0);
      assert.is(kept.length, 6);
      let sum = 0;
      for (const i of kept) {
        const p = shares[i] as number;
        sum += p;
        const found = tokens.subarray(step * draws, (step + 1) * draws)
          .reduce((count, token) => count + Number(token === ids[i]), 0);
        // Five standard deviations.
        const bound = 5 * Math.sqrt(draws * p * (1 - p));
        assert.ok(Math.abs(found - draws * p) <= bound, `${found} of ${draws * p}`);
      }
      assert.ok(Math.abs(sum - 1) < 1e-5);
    }
  }
});

tapes("another draw from rows that were looked at before is the same", async () => {
  for (const options of [true, { kind: "f16" }, { top: 40 }] as const) {
    const { tape } = await recorded(options);
    const file = join(folder, "again.tape");
    tape.save(file);
    const best = await tape.sample([greedy()]);
    for (const step of [0, 11, 23]) {
      const { tokens, logits } = tape.row(step);
      assert.is(best[step], tokens[logits.indexOf(Math.max(...logits))]);
    }
    for (
      const chain of [[], [topK(3)], [temperature(0.7), topK(9), topP(0.8)], [minP(0.05)], [
        topP(0.6),
      ]]
    ) {
      const fresh = readTape(file);
      const draws = { draws: 20, seed: 4 };
      const expected = await fresh.sample(chain, draws);
      assert.equal(await fresh.sample(chain, draws), expected);
      assert.equal(await tape.sample(chain, draws), expected);
      // What is left is found by a way of its own.
      const shares = await tape.distribution(chain, 7);
      const { tokens } = tape.row(7);
      for (const token of expected.subarray(7 * 20, 8 * 20)) {
        assert.ok((shares[tokens.indexOf(token)] as number) > 0);
      }
    }
    rmSync(file);
  }
});

tapes("draws of a chain that draws numbers itself are those of its sequences", async () => {
  const { tape } = await recorded(true);
  const tokens = await tape.sample([xtc(0.5, 0.01)], { draws: 300, seed: 3 });
  const always = await tape.distribution([xtc(1, 0.01)], 0);
  const first = tokens.subarray(0, 300).filter((token) => always[token] === 0).length;
  // Half of the draws had the best ones excluded.
  assert.ok(first > 0 && first < 250, String(first));
});

tapes("every order of stages, the given one first", async () => {
  const { tape } = await recorded(true);
  const chain = [temperature(2), topP(0.8), topK(5)];
  const orders = await tape.orderAblation(chain);
  assert.is(orders.length, 6);
  assert.is(new Set(orders.map(({ notation }) => notation)).size, 6);
  assert.is(orders[0]?.notation, "temperature=2,top-p=0.8,top-k=5");
  assert.is(orders[0]?.distance, 0);
  assert.is(orders[0]?.differs, 0);
  for (const { sampler, notation, tokens, differs, candidates, distance, distanceMax } of orders) {
    assert.equal(tokens, await tape.sample(sampler));
    const other = tokens.filter((token, i) => token !== orders[0]?.tokens[i]).length;
    assert.is(differs, other);
    assert.ok(distance <= distanceMax && distanceMax <= 1);
    // At a temperature of 2 the nucleus has more than five tokens, of the model's own it has fewer.
    if (notation.endsWith("temperature=2")) assert.ok(candidates <= 5, notation);
  }
  // Temperature changes no order of tokens, so top-k may stand before or behind it.
  const two = await tape.orderAblation([temperature(2), topK(5)]);
  assert.ok((two[1]?.distance as number) < 1e-6);
  const three = await tape.orderAblation([temperature(2), topP(0.5)]);
  assert.ok((three[1]?.distance as number) > 0.01, String(three[1]?.distance));
  try {
    await tape.orderAblation([]);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /the number of stages to be a whole number from 1 to 6/);
  }
});

tapes("a file gives the same tape, and a damaged or foreign one is refused", async () => {
  for (const options of [true, { kind: "f16" }, { top: 9 }] as const) {
    const { tape } = await recorded(options);
    const file = join(folder, "a.tape");
    tape.save(file);
    tape.save(file);
    assert.equal(readdirSync(folder), ["a.tape"]);
    const again = readTape(file);
    assert.equal(again.header, tape.header);
    assert.match(again.header.identity, /^[0-9a-f]{16}$/);
    assert.equal(again.row(3), tape.row(3));
    assert.equal(await again.sample([minP(0.1)]), await tape.sample([minP(0.1)]));
    const bytes = readFileSync(file);
    const broken: [(copy: Uint8Array) => Uint8Array, RegExp][] = [
      [(copy) => copy.subarray(0, copy.length - 1), /a file of \d+ bytes, but found/],
      [(copy) => copy.subarray(0, 10), /a preamble of 24 bytes/],
      [(copy) => (copy[0] = 0, copy), /another kind of file/],
      [(copy) => (copy[8] = 2, copy), /version 1 of logit tapes, but found 2/],
      [(copy) => (copy[copy.length - 1]! ^= 1, copy), /a damaged one/],
      [(copy) => (copy[30]! ^= 1, copy), /a damaged one/],
      [() => new Uint8Array(0), /another kind of file/],
    ];
    for (const [damage, text] of broken) {
      const other = join(folder, "b.tape");
      writeFileSync(other, damage(new Uint8Array(bytes)));
      try {
        readTape(other);
        assert.unreachable(String(text));
      } catch (error) {
        assert.is((error as EngineError).code, "invalid-file");
        assert.match((error as Error).message, text);
      }
      rmSync(other);
    }
  }
  assert.throws(() => readTape(join(folder, "none")), /Expected a logit tape, but found no file/);
  const { tape } = await recorded({ top: 1 });
  assert.throws(() => tape.save(join(folder, "no", "such", "a")), /no.such.a/);
});

tapes("what is out of range is refused", async () => {
  const { tape } = await recorded({ top: 5 });
  const wrong: [() => unknown, RegExp][] = [
    [() => tape.row(24), /step to be a whole number from 0 to 23/],
    [() => tape.sample([{ name: "top_p", params: { p: 2 } }]), /top_p.*from 0 to 1, found 2/],
    [() => tape.sample([{ name: "none", params: {} }]), /a sampler stage/],
    [() => tape.sample([], { draws: 0 }), /draws/],
    [() => tape.sample([], { seed: -1 }), /seed/],
    [() => tape.counterfactual([], { draws: 1 } as never), /counterfactual/],
  ];
  for (const [body, text] of wrong) {
    try {
      await body();
      assert.unreachable(String(text));
    } catch (error) {
      assert.match((error as Error).message, text);
    }
  }
});
tapes.run();
