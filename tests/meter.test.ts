/** Meters: what passes read and compute, against what is counted by hand. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, type MemoryAccess } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, four heads and two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 2 });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const meters = suite("meters");

meters(
  "a decode step reads every weight once, and the keys and values of all positions",
  async () => {
    using model = await load();
    using session = model.session({ context: 256, kv: { key: "f16", value: "q8_0" } });
    await session.prefill(tokens);
    using meter = session.meter();
    const steps: number[] = [];
    for await (const step of session.generate("", { maxTokens: 6, ignoreEnd: true })) {
      steps.push(step.token);
    }
    const access = meter.read();
    // The last token is not evaluated.
    assert.is(access.passes, steps.length - 1);
    const { layers, kvHeads, keyLength, valueLength } = model.info;
    assert.is(access.places, layers + 1);
    const weights = access.weightBytes[0]!;
    for (let pass = 0; pass < access.passes; pass++) {
      assert.equal(
        [access.number[pass], access.rows[pass], access.ownRows[pass], access.position[pass]],
        [pass, 1, 1, 100 + pass],
      );
      const positions = 101 + pass;
      for (let layer = 0; layer < layers; layer++) {
        const at = pass * access.places + layer;
        assert.is(access.weightBytes[at], weights);
        assert.is(access.keyBytes[at], positions * kvHeads * keyLength * 2);
        assert.is(access.valueBytes[at], positions * kvHeads * valueLength * 34 / 32);
        const bytes = weights + access.keyBytes[at]! + access.valueBytes[at]!;
        assert.is(access.intensity[at], access.flops[at]! / bytes);
        assert.is(access.bandwidth[at], bytes / access.seconds[at]!);
        assert.ok(access.seconds[at]! > 0);
      }
      // Another position adds its products with queries and with weights, to each head.
      const [first, last] = [access.flops[0]!, access.flops[pass * access.places]!];
      assert.is(last - first, pass * 2 * model.info.heads * (keyLength + valueLength));
    }
    assert.is(meter.read().passes, 0);
  },
);

meters("forks that decode together read the weights once for all", async () => {
  using model = await load();
  using session = model.session({ context: 1024 });
  await session.prefill(tokens);
  using fork = session.fork();
  using meter = session.meter();
  const run = async (of: typeof session) => {
    for await (const _ of of.generate("", { maxTokens: 800, ignoreEnd: true }));
  };
  await Promise.all([run(session), run(fork)]);
  const access = meter.read();
  const together = [...access.rows].findIndex((rows) => rows === 2);
  assert.ok(together >= 0, "no pass had both");
  assert.is(access.ownRows[together], 1);
  const weights = (pass: number) => access.weightBytes[pass * access.places]!;
  using alone = model.session({ context: 1024 });
  await alone.prefill(tokens);
  using other = alone.meter();
  await run(alone);
  assert.is(weights(together), other.read().weightBytes[0]);
});

meters("the youngest passes are kept", async () => {
  using model = await load();
  using session = model.session({ context: 256 });
  using meter = session.meter({ passes: 3 });
  for (const token of tokens.slice(0, 10)) await session.prefill([token]);
  const access: MemoryAccess = meter.read();
  assert.equal([...access.number], [7, 8, 9]);
  assert.equal([...access.position], [7, 8, 9]);
});

meters("results are the same bits with a meter", async () => {
  using model = await load();
  using plain = model.session({ context: 256 });
  using metered = model.session({ context: 256 });
  using _meter = metered.meter();
  await plain.prefill(tokens);
  await metered.prefill(tokens);
  assert.equal(metered.logits(), plain.logits());
});

meters("misuse is an error that leaves the session usable", async () => {
  using model = await load();
  using session = model.session({ context: 256 });
  assert.throws(() => session.meter({ passes: 0 }), /Expected passes to be a whole number from 1/);
  const meter = session.meter();
  assert.throws(() => session.meter(), /Expected a session without a meter/);
  const running = session.generate(tokens, { maxTokens: 20, ignoreEnd: true });
  await running[Symbol.asyncIterator]().next();
  assert.throws(() => meter.read(), /Expected an idle session/);
  // It ends when the request does.
  meter.dispose();
  meter.dispose();
  assert.throws(() => meter.read(), /Expected a meter that runs/);
  for await (const _ of running);
  using again = session.meter();
  await session.prefill([5]);
  assert.is(again.read().passes, 1);
});

meters("a meter outlives its session", async () => {
  using model = await load();
  const session = model.session({ context: 256 });
  const meter = session.meter();
  session.dispose();
  assert.throws(() => meter.read(), /Expected a session that is still open/);
  meter.dispose();
});

meters.run();
