/** Caches behind a Hadamard rotation. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kvFormats, type KvPolicy, loadModel, readSnapshot } from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1, precision: "float" });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);
const sides = ["key", "value"] as const;

const rotation = suite("rotated caches");

rotation("hold what simulated ones hold, bit for bit, in every format", async () => {
  using model = await load();
  for (const format of kvFormats) {
    const stored = { format, rotate: true };
    using real = model.session({ context: 128, kv: { key: stored, value: stored } });
    using simulated = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
    using _simulation = simulated.simulateKv({ key: stored, value: stored });
    using plain = model.session({ context: 128, kv: { key: format, value: format } });
    for (const session of [real, simulated, plain]) await session.prefill(tokens);
    for (const which of sides) {
      // What goes into the first layer depends on no cache.
      const part = { which, layer: 0 };
      const values = real.kv.read(part);
      assert.equal(values, simulated.kv.read(part), `${format} ${which}`);
      assert.not.equal(values, plain.kv.read(part));
    }
    assert.is(real.kv.ledger().keyBits, plain.kv.ledger().keyBits);
    assert.is(real.kv.bytes, plain.kv.bytes);
  }
});

rotation("attend to what they hold", async () => {
  using model = await load();
  using plain = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
  const stored = { format: "f32", rotate: true } as const;
  using turned = model.session({
    context: 128,
    kv: {
      key: stored,
      rules: [{ which: "value", format: stored }],
      sinks: 2,
      recent: 9,
      exact: "f32",
    },
  });
  using recordings = turned.record(["blocks.1.q"]);
  for (const session of [plain, turned]) await session.prefill(tokens);
  const [a, b] = [plain.logits(), turned.logits()];
  assert.ok(a.every((value, i) => Math.abs(value - b[i]!) < 1e-3));
  const queries = recordings.get("blocks.1.q");
  const rows = [plain, turned].map((one) => one.kv.attention(queries, { from: 98 }).weights);
  assert.ok(rows[0]!.every((weight, i) => Math.abs(weight - rows[1]![i]!) < 1e-4));
  const views = [plain, turned].map((one) =>
    one.kv.read({ which: "key", layer: 1, view: "unrotated" })
  );
  assert.ok(views[0]!.every((value, i) => Math.abs(value - views[1]![i]!) < 1e-3));
});

rotation("are saved as what they are", async () => {
  using model = await load();
  const kv: KvPolicy = {
    value: { format: "q4_0", rotate: true },
    recent: 5,
    rules: [{ layers: 1, heads: 0, which: "key", format: { format: "q8_0", rotate: true } }],
  };
  using session = model.session({ context: 128, kv });
  await session.prefill(tokens);
  const file = temporaryPath("rotated.session");
  await session.save(file);
  using snapshot = readSnapshot(file);
  using restored = await model.restore(file);
  for (const which of sides) {
    for (const layer of [0, 1]) {
      for (const head of [0, 1]) {
        const part = { which, layer, head };
        assert.equal(snapshot.read(part), session.kv.read(part));
        assert.equal(restored.kv.read(part), session.kv.read(part));
      }
    }
  }
  const texts = await Promise.all(
    [session, restored].map((one) => one.generate("", { maxTokens: 9, seed: 2 }).text()),
  );
  assert.is(texts[0], texts[1]);
});

rotation("are refused where they can't be", async () => {
  using model = await load();
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ key: { format: "q5" } }, /kv\.key\.format to be one of f32.*"q5"/],
    [{ key: { format: "q5_0", rotate: 1 } }, /kv\.key\.rotate to be.*1/],
    [
      { value: { format: "f16", turn: true } },
      /option of kv\.value \(format, rotate, beforeRope.*"turn"/,
    ],
    [{ value: { rotate: true } }, /kv\.value to be one of f32/],
    [{ key: { bits: 3, outliers: 0.01 } }, /found a scheme, which is simulated only.*simulateKv/],
  ];
  for (const [kv, message] of wrong) {
    assert.throws(() => model.session({ kv: kv as KvPolicy }), message);
  }
  using odd = await loadModel(tinyModel({ embedding: 96 * 4 }), { threads: 1 });
  assert.throws(
    () => odd.session({ kv: { key: { format: "f16", rotate: true } } }),
    /heads of a power of two of values to rotate in kv, but found 96/,
  );
});

rotation.run();
