/** Caches after KIVI: keys in groups of tokens along channels, values in groups along a token. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { estimate, kvGroupFormats, type KvPolicy, loadModel, readSnapshot } from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1, precision: "float" });
const tokens = Array.from({ length: 150 }, (_, i) => 3 + (i * 37) % 256);
const length = 32;

const groups = suite("caches in groups");

/** What f16 bits mean. */
const half = (bits: number) => {
  const view = new DataView(new ArrayBuffer(2));
  view.setUint16(0, bits);
  return view.getFloat16(0);
};

for (const format of kvGroupFormats) {
  const kv: KvPolicy = { key: format, value: format, sinks: 2, recent: 40 };

  groups(`${format}: codes, scales and minimums make up what is read`, async () => {
    using model = await load();
    using session = model.session({ context: 256, kv });
    using full = model.session({ context: 256 });
    for (const one of [session, full]) await one.prefill(tokens);
    const most = format === "int4" ? 15 : 3;
    for (const which of ["key", "value"] as const) {
      const part = { which, layer: 0, head: 1 };
      const [own, exact] = [session.kv.read(part), full.kv.read(part)];
      const raw = session.kv.read({ ...part, view: "raw" });
      const positions = which === "key" ? 128 : 150;
      assert.is(raw.codes.length, positions * length);
      for (let p = 0; p < 150; p++) {
        for (let i = 0; i < length; i++) {
          const at = p * length + i;
          if (p < 2 || p >= 110) {
            assert.is(own[at], exact[at]);
            continue;
          }
          const term = which === "key" ? Math.floor(p / 32) * length + i : p;
          const [scale, low] = [half(raw.scales[term]!), half(raw.minimums[term]!)];
          assert.ok(raw.codes[at]! <= most);
          assert.is(own[at], Math.fround(raw.codes[at]! * scale + low));
          // Half a step, what the range lost to the rounding of its ends, and that of the value to f16.
          const bound = scale * 0.501 + 0.002 * (Math.abs(low) + most * scale);
          assert.ok(Math.abs(own[at]! - exact[at]!) <= bound, `${which} ${p} ${i}`);
        }
      }
    }
    assert.is(session.kv.ledger().keyBits, format === "int4" ? 5 : 3);
    assert.is((await estimate(path, { context: 256, kv })).kvBytes, session.kv.bytes);
    const { bytes, ...parts } = session.kv.ledger().layers[1]!;
    assert.is(Object.values(parts).reduce((sum, part) => sum + part, 0), bytes);
  });

  groups(`${format}: is saved, and goes on with the same bits`, async () => {
    using model = await load();
    using session = model.session({ context: 256, kv });
    await session.prefill(tokens);
    const file = temporaryPath(`${format}.session`);
    await session.save(file);
    using snapshot = readSnapshot(file);
    using restored = await model.restore(file);
    for (const which of ["key", "value"] as const) {
      for (const range of [{}, { from: 33, to: 100 }, { from: 120, to: 150 }]) {
        const part = { which, layer: 1, head: 0, ...range };
        assert.equal(snapshot.read(part), session.kv.read(part));
        assert.equal(restored.kv.read(part), session.kv.read(part));
      }
      for (const range of [{}, { from: 32, to: 96 }, { head: 1, from: 64, to: 128 }]) {
        const part = { which, layer: 1, view: "raw", ...range } as const;
        assert.equal(snapshot.read(part), session.kv.read(part));
      }
    }
    for (const range of [{ from: 16 }, { to: 150 }, { from: 32, to: 90 }]) {
      const part = { which: "key", layer: 0, view: "raw", ...range } as const;
      assert.throws(() => snapshot.read(part), /128 tokens in whole groups of 32.*multiples of 32/);
    }
    for (const one of [session, restored]) {
      await one.generate("", { maxTokens: 40, seed: 1 }).text();
    }
    assert.equal(restored.logits(), session.logits());
    assert.equal(
      restored.kv.read({ which: "key", layer: 1 }),
      session.kv.read({ which: "key", layer: 1 }),
    );
  });
}

groups(
  "are refused without the tokens that a group waits for, also in simulations",
  async () => {
    using model = await load();
    assert.throws(
      () => model.session({ kv: { key: "int2", recent: 64, rules: [{ layers: 1, recent: 31 }] } }),
      /kv to keep at least 32 recent tokens of layer 1.*int2 are rounded so many at a time, but found 31/,
    );
    using values = model.session({ context: 128, kv: { value: "int2" } });
    using simulated = model.session({ context: 128, kv: { value: "f32" } });
    using _simulation = simulated.simulateKv({ value: "int2" });
    for (const one of [values, simulated]) await one.prefill(tokens.slice(0, 70));
    assert.equal(
      simulated.kv.read({ which: "value", layer: 0 }),
      values.kv.read({ which: "value", layer: 0 }),
    );
    assert.throws(
      () => simulated.simulateKv({ key: "int4" }),
      /at least 32 recent tokens of layer 0.*simulation in int4.*found 0/,
    );
  },
);

groups.run();
