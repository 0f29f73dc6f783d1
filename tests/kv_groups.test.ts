/** Caches after KIVI: keys in groups of tokens along channels, values in groups along a token. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  diffKv,
  estimate,
  kvGroupFormats,
  type KvPolicy,
  type KvStored,
  loadModel,
  readSnapshot,
} from "../mod.ts";
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

const codeBits = { int8_channel: 8, int4: 4, int2: 2 };

for (const format of kvGroupFormats) {
  const kv: KvPolicy = { key: format, value: format, sinks: 2, recent: 40 };

  groups(`${format}: codes, scales and minimums make up what is read`, async () => {
    using model = await load();
    using session = model.session({ context: 256, kv });
    using full = model.session({ context: 256 });
    for (const one of [session, full]) await one.prefill(tokens);
    const most = 2 ** codeBits[format] - 1;
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
    assert.is(session.kv.ledger().keyBits, codeBits[format] + 1);
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

/** The same bits; comparing element by element in words would take long where they differ. */
function same(a: Float32Array, b: Float32Array): void {
  const differs = a.findIndex((value, i) => !Object.is(value, b[i]));
  assert.is(differs, -1, `${a[differs]} and ${b[differs]} at ${differs}`);
  assert.is(a.length, b.length);
}

/** Heads of 128 values, so that each group fits. */
const wide = tinyModel({ embedding: 512 });
/** Where no group is named. */
const usual = { int8_channel: 64, int4: 32, int2: 32 } as const;
const optionsOf = (format: (typeof kvGroupFormats)[number]): Omit<KvStored, "format">[] => [
  { symmetric: true },
  { group: usual[format] === 32 ? 64 : 32 },
  { outliers: 0.01 },
  { symmetric: true, group: 64, outliers: 0.01, rotate: true },
];

for (const format of kvGroupFormats) {
  for (const option of optionsOf(format)) {
    const terms = 16 * (option.symmetric ? 1 : 2) / (option.group ?? usual[format]);
    // 41 and 82 of 32 and 64 tokens times 128 values, in whole quarters of a group, and 2 of 128 values.
    const kept = option.outliers === undefined ? [0, 0] : [48 * 32 / 4096, 2 * 32 / 128];
    const bits = [terms + kept[0]!, terms + kept[1]!] as const;
    groups(
      `${format} with ${JSON.stringify(option)}: real and simulated are the same bits`,
      async () => {
        using model = await loadModel(wide, { threads: 1, precision: "float" });
        const stored: KvStored = { format, ...option };
        const window = { sinks: 2, recent: 70, exact: "f32" } as const;
        const kv: KvPolicy = { key: stored, value: stored, ...window };
        using session = model.session({ context: 256, kv });
        const full: KvStored = { format: "f32", rotate: option.rotate };
        using simulated = model.session({
          context: 256,
          kv: { key: full, value: full, ...window },
        });
        using _simulation = simulated.simulateKv({ key: stored, value: stored });
        using recording = session.record(["blocks.*.k", "blocks.*.v"]);
        for (const one of [session, simulated]) {
          // The first layer has the same values in both, whatever attention makes of them.
          await one.prefill(tokens.slice(0, 50));
          await one.prefill([...tokens.slice(50), ...tokens.slice(0, 50)]);
        }
        for (const which of ["key", "value"] as const) {
          const part = { which, layer: 0 };
          same(session.kv.read(part), simulated.kv.read(part));
        }
        const ledger = session.kv.ledger();
        assert.ok(Math.abs(ledger.keyBits - codeBits[format] - bits[0]) < 1e-12);
        assert.ok(Math.abs(ledger.valueBits - codeBits[format] - bits[1]) < 1e-12);
        assert.is((await estimate(wide, { context: 256, kv })).kvBytes, session.kv.bytes);
        const { bytes, ...parts } = ledger.layers[1]!;
        assert.is(Object.values(parts).reduce((sum, part) => sum + part, 0), bytes);
        const { relative } = session.kv.errors(recording);
        // Of int2 a third of the range of a group is a step.
        for (const error of relative) {
          assert.ok(error > 0 && error < (format === "int2" ? 0.6 : 0.12));
        }

        const raw = session.kv.read({ which: "key", layer: 0, head: 0, view: "raw" });
        assert.is(raw.minimums.length, option.symmetric ? 0 : raw.scales.length);
        assert.is(raw.outliers.length > 0, option.outliers !== undefined);
        const file = temporaryPath(`${format}-${JSON.stringify(option).length}.session`);
        await session.save(file);
        using snapshot = readSnapshot(file);
        using restored = await model.restore(file);
        for (const which of ["key", "value"] as const) {
          for (const range of [{}, { from: 33, to: 100 }]) {
            const part = { which, layer: 1, head: 0, ...range };
            same(snapshot.read(part), session.kv.read(part));
            same(restored.kv.read(part), session.kv.read(part));
          }
        }
        assert.equal(
          snapshot.read({ which: "value", layer: 1, head: 0, view: "raw" }),
          session.kv.read({ which: "value", layer: 1, head: 0, view: "raw" }),
        );
        using fork = session.fork();
        for (const one of [session, restored, fork]) {
          await one.generate("", { maxTokens: 40, seed: 1 }).text();
        }
        same(restored.logits(), session.logits());
        same(fork.logits(), session.logits());
        session.truncate(200);
        fork.truncate(200);
        await session.prefill(tokens.slice(0, 30));
        assert.is(diffKv(session, session).equal.every((same) => same === 1), true);
        assert.is(diffKv(session, restored).equal.every((same) => same === 1), false);
      },
    );
  }
}

groups("one head in groups and one by itself: real and simulated are the same bits", async () => {
  using model = await load();
  const window = { sinks: 2, recent: 40 } as const;
  const full = { key: "f32", value: "f32", ...window } as const;
  const rules = [{ which: "key", layers: 0, heads: 1, format: "int4" }] as const;
  for (const key of ["q8_0", "f32"] as const) {
    using session = model.session({ context: 256, kv: { ...full, key, rules } });
    using simulated = model.session({ context: 256, kv: full });
    using _first = simulated.simulateKv(key === "f32" ? {} : { key, rules });
    // What another simulation replaces counts, too.
    using _second = key === "f32" ? simulated.simulateKv({ rules }) : undefined;
    for (const one of [session, simulated]) {
      await one.prefill(tokens.slice(0, 50));
      await one.prefill(tokens.slice(50));
    }
    const part = { which: "key", layer: 0 } as const;
    same(session.kv.read(part), simulated.kv.read(part));
  }
});

groups("int8_channel: 64 share a scale where heads are multiples of it", async () => {
  for (const [file, group] of [[path, 32], [wide, 64]] as const) {
    using model = await loadModel(file, { threads: 1, precision: "float" });
    const kv: KvPolicy = { key: "int8_channel", value: "int8_channel", recent: group };
    const named: KvStored = { format: "int8_channel", group };
    using session = model.session({ context: 256, kv });
    using same = model.session({ context: 256, kv: { key: named, value: named, recent: group } });
    for (const one of [session, same]) await one.prefill(tokens);
    assert.equal(session.logits(), same.logits());
    const { keyBits, valueBits } = session.kv.ledger();
    assert.equal([keyBits, valueBits], [8 + 32 / group, 8 + 32 / group]);
    const { kvBytes } = await estimate(file, { context: 256, kv });
    assert.is(kvBytes, session.kv.bytes);
    const { scales } = session.kv.read({ which: "key", layer: 0, head: 0, view: "raw" });
    assert.is(scales.length, Math.floor(150 / group) * session.kv.keyLength);
  }
  using model = await loadModel(wide, { threads: 1, precision: "float" });
  const kv: KvPolicy = { key: "int8_channel", value: "int8_channel", recent: 63 };
  assert.throws(
    () => model.session({ kv }),
    /at least 64 recent tokens of layer 0.*found 63; \{ format: "int8_channel", group: 32 \} needs 32/,
  );
  using plain = model.session({ context: 128, kv: { recent: 63 } });
  assert.throws(
    () => plain.simulateKv({ key: "int8_channel" }),
    /at least 64 recent tokens of layer 0.*found 63; \{ format: "int8_channel", group: 32 \} needs 32/,
  );
});

groups("files that name no group have groups of 32, whatever is usual now", async () => {
  using model = await loadModel(wide, { threads: 1, precision: "float" });
  const short: KvStored = { format: "int8_channel", group: 32 };
  const kv: KvPolicy = {
    key: short,
    value: "f16",
    recent: 64,
    rules: [{ layers: 1, format: short }],
  };
  using session = model.session({ context: 256, kv });
  await session.prefill(tokens);
  const file = temporaryPath("short.session");
  await session.save(file);
  // As files were before longer groups were usual.
  assert.not.match(readFileSync(file, "latin1"), /"group"/);
  using snapshot = readSnapshot(file);
  using restored = await model.restore(file);
  for (const { policy } of [snapshot, restored.kv]) {
    assert.equal(policy.key, short);
    assert.equal(policy.rules?.[0]?.format, short);
  }
  for (const which of ["key", "value"] as const) {
    const part = { which, layer: 1 } as const;
    assert.equal(snapshot.read(part), session.kv.read(part));
    assert.equal(restored.kv.read(part), session.kv.read(part));
  }
  assert.equal(restored.kv.ledger(), session.kv.ledger());
  using usual = model.session({ context: 256, kv: { ...kv, key: "int8_channel" } });
  let message = "";
  await usual.restore(file).catch((error) => message = error.message);
  assert.match(message, /keys of layer 0, KV head 0, in int8_channel with other options/);
});

groups(
  "options are checked: format, group, heads, window, outliers, and files with others",
  async () => {
    using model = await load();
    const of = (kv: KvPolicy) => () => model.session({ context: 128, kv: { recent: 64, ...kv } });
    const bad = (stored: object) => of({ value: { format: "int4", ...stored } as KvStored });
    assert.throws(
      of({ key: { format: "q4_0", symmetric: true } }),
      /kv.key.format to be one of int8_channel, int4, int2, which have symmetric, but found q4_0/,
    );
    assert.throws(bad({ group: 48 }), /kv.value.group to be 32, 64 or 128, but found 48/);
    assert.throws(
      bad({ group: 64 }),
      /heads of a multiple of 64 values for values of kv.*found 32/,
    );
    assert.throws(
      bad({ outliers: 0.3 }),
      /kv.value.outliers.*from 0 to 0.25 in steps of 0.001.*0.3/,
    );
    assert.throws(bad({ outliers: 0.0015 }), /in steps of 0.001.*found 0.0015/);
    using other = await loadModel(wide, { threads: 1 });
    const key = (group: 64 | 128, recent: number) => () =>
      other.session({ context: 128, kv: { key: { format: "int4", group }, recent } });
    assert.throws(key(128, 128), /keys of kv in groups of up to 64 tokens, but found 128/);
    assert.throws(key(64, 63), /at least 64 recent tokens of layer 0.*found 63/);
    using simulated = other.session({ context: 128, kv: { recent: 63 } });
    assert.throws(
      () => simulated.simulateKv({ key: { format: "int4", group: 64 } }),
      /at least 64 recent tokens of layer 0.*found 63/,
    );
  },
);

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
