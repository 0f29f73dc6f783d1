/** Caches whose keys are stored before their rotary embedding. */
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compareKv,
  contrastiveSearch,
  diffKv,
  estimate,
  guidance,
  kvFormats,
  type KvPolicy,
  type KvSimulation,
  type KvStored,
  loadModel,
  readSnapshot,
  slidingWindow,
} from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values, rotated in pairs of neighbours. */
const tiny = tinyModel({ embedding: 128 });
const load = (path = tiny) => loadModel(path, { threads: 1, precision: "float" });
const golden = (name: string) => fileURLToPath(new URL(`golden/${name}.gguf`, import.meta.url));
/** Halves, with layers of two kinds; halves; and frequencies that are stretched. */
const others = ["gemma3", "qwen2", "qwen3", "llama_rope_yarn", "llama_rope_longrope_long"] as const;
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const early = suite("keys before their rotary embedding");

early("are what simulated ones are, bit for bit, in every format and layer", async () => {
  for (const name of ["tiny", ...others]) {
    using model = await load(name === "tiny" ? tiny : golden(name));
    const { keyLength } = model.info;
    const formats = name === "tiny" ? kvFormats : ["f8_e4m3"] as const;
    const own = tokens.slice(0, 70).map((token) => token % model.info.vocabulary);
    for (const format of formats) {
      for (const rotate of (keyLength & (keyLength - 1)) === 0 ? [false, true] : [false]) {
        const key = { format, beforeRope: true, rotate };
        using real = model.session({ context: 128, kv: { key, value: "f32" } });
        using simulated = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
        using _simulation = simulated.simulateKv({ key });
        for (const one of [real, simulated]) await one.prefill(own);
        assert.equal(real.logits(), simulated.logits(), `${name} ${format} ${rotate}`);
        const last = { which: "key", layer: real.kv.layers - 1 } as const;
        assert.equal(real.kv.read(last), simulated.kv.read(last));
        using plain = model.session({ context: 128, kv: { key: format, value: "f32" } });
        assert.is(real.kv.bytes, plain.kv.bytes);
        assert.is(real.kv.ledger().keyBits, plain.kv.ledger().keyBits);
      }
    }
  }
});

early("with tokens at full precision, and rounded in groups, too", async () => {
  using model = await load();
  const stored: readonly KvStored[] = [
    { format: "q5_0" },
    { format: "int8_channel" },
    { format: "int4" },
    { format: "int2" },
    { format: "int4", symmetric: true, outliers: 0.01 },
    // Behind a Hadamard rotation what is at full precision is rotated, and rounded as such.
    { format: "q4_0", rotate: true },
    { format: "int4", rotate: true },
  ];
  for (const given of stored) {
    const { format, rotate } = given;
    const exact = rotate ? "f16" : "f32";
    const rest = { value: "f32", sinks: 3, recent: 40, exact } as const;
    const f32 = { format: "f32", beforeRope: true, rotate } as const;
    const key: KvStored = { ...given, beforeRope: true };
    using real = model.session({ context: 256, kv: { ...rest, key } });
    using simulated = model.session({ context: 256, kv: { ...rest, key: f32 } });
    using _simulation = simulated.simulateKv({ ...rest, key });
    for (const one of [real, simulated]) {
      await one.prefill(tokens);
      await one.generate("", { maxTokens: 9, seed: 1 }).text();
    }
    assert.equal(real.logits(), simulated.logits(), format);
    assert.equal(
      real.kv.read({ which: "key", layer: 1, view: "unrotated" }),
      simulated.kv.read({ which: "key", layer: 1, view: "unrotated" }),
    );
    const file = temporaryPath("early-groups.session");
    await real.save(file);
    using snapshot = readSnapshot(file);
    using restored = await model.restore(file);
    for (const part of [{ from: 0 }, { from: 33, to: 100 }, { view: "unrotated" }] as const) {
      const all = { which: "key", layer: 1, head: 0, ...part } as const;
      assert.equal(snapshot.read(all), real.kv.read(all));
      assert.equal(restored.kv.read(all), real.kv.read(all));
    }
    const raw = { which: "key", layer: 1, head: 0, to: 96, view: "raw" } as const;
    assert.equal(snapshot.read(raw), real.kv.read(raw));
    const { candidates: [both] } = await compareKv(model, tokens, {
      reference: { ...rest, key },
      candidates: [{ simulate: { ...rest, key } as KvSimulation }],
    });
    assert.is(both!.kl.max, 0, format);
  }
});

early("are seen as attention sees them, as they are stored, and in hooks", async () => {
  using model = await load();
  const kv: KvPolicy = { key: { format: "f32", beforeRope: true }, value: "f32" };
  using session = model.session({ context: 128, kv });
  using plain = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
  using recording = session.record(["blocks.*.k_pre", "blocks.*.k", "blocks.*.k_stored"]);
  for (const one of [session, plain]) await one.prefill(tokens);
  assert.equal(session.logits(), plain.logits());
  const part = { which: "key", layer: 1, head: 0 } as const;
  assert.equal(session.kv.read(part), plain.kv.read(part));
  const stored = session.kv.read({ ...part, view: "unrotated" });
  assert.equal(session.kv.read({ ...part, view: "raw" }).codes, stored);
  const own = (name: string) => {
    const { values, width } = recording.get(name);
    return values.filter((_, i) => i % width < stored.length / tokens.length);
  };
  assert.equal(own("blocks.1.k"), session.kv.read(part));
  assert.equal(own("blocks.1.k_pre"), stored);
  assert.equal(own("blocks.1.k_stored"), stored);
  assert.ok(session.kv.errors(recording).relative.every((error) => error === 0));
  // What a hook makes of rotated keys is stored before their rotation.
  using changed = model.session({ context: 128, kv });
  using _hooks = changed.hooks({ "blocks.1.k": ({ values }) => void values.fill(0.5) });
  await changed.prefill(tokens);
  assert.ok(changed.kv.read(part).every((value) => Math.abs(value - 0.5) < 1e-5));
});

early("are saved, forked, restored, shifted and shared as what they are", async () => {
  using model = await load();
  const kv: KvPolicy = {
    value: "q8_0",
    rules: [{ which: "key", layers: 1, format: { format: "q4_0", beforeRope: true } }],
  };
  using session = model.session({ context: 128, kv });
  await session.prefill(tokens);
  const file = temporaryPath("early.session");
  await session.save(file);
  using snapshot = readSnapshot(file);
  using restored = await model.restore(file);
  using fork = session.fork();
  assert.equal(restored.kv.policy.rules?.[0]?.format, {
    format: "q4_0",
    beforeRope: true,
  });
  for (const layer of [0, session.kv.layers - 1]) {
    const part = { which: "key", layer, from: 3, to: 90 } as const;
    assert.equal(snapshot.read(part), session.kv.read(part));
    assert.equal(fork.kv.read(part), session.kv.read(part));
  }
  const unrotated = { which: "key", layer: 1, view: "unrotated" } as const;
  assert.equal(snapshot.read(unrotated), session.kv.read(unrotated));
  assert.throws(() => snapshot.read({ ...unrotated, layer: 0 }), /before their rotary.*layer 0/);
  assert.ok(diffKv(file, session).equal.every((is) => is === 1));
  const texts = await Promise.all(
    [session, restored, fork].map((one) => one.generate("", { maxTokens: 9, seed: 2 }).text()),
  );
  assert.is(new Set(texts).size, 1);
  assert.is((await estimate(tiny, { context: 128, kv })).kvBytes, session.kv.bytes);
  const late: KvPolicy = { ...kv, rules: [{ which: "key", layers: 1, format: "q4_0" }] };
  using other = model.session({ context: 128, kv: late });
  let message = "";
  await other.restore(file).catch((error) => message = error.message);
  assert.match(message, /stored before their rotary embedding in one only/);

  // A shift computes the younger half again; a pool finds pages by their tokens.
  using shifting = model.session({ context: 64, kv, shift: { keep: 4 } });
  await shifting.prefill(tokens.slice(0, 64));
  await shifting.prefill(tokens.slice(64, 70));
  using fresh = model.session({ context: 64, kv });
  await fresh.prefill(shifting.tokens);
  assert.equal(shifting.logits(), fresh.logits());
  using pool = model.kvPool({ pages: 8, kv });
  const found = [];
  for (let i = 0; i < 2; i++) {
    using one = pool.session({ context: 128 });
    await one.prefill(tokens);
    found.push(one.stats.reusedTokens, one.logits());
  }
  assert.is(found[2], 64);
  assert.equal(found[1], found[3]);
});

early("guide and are searched as those behind it", async () => {
  using model = await load();
  const texts = [];
  for (const beforeRope of [false, true]) {
    const kv: KvPolicy = { key: { format: "f32", beforeRope }, value: "f32" };
    using negative = model.session({ context: 64, kv });
    await negative.prefill(tokens.slice(0, 20));
    for (const stage of [guidance(negative, 2), contrastiveSearch({ k: 5 })]) {
      using session = model.session({ context: 128, kv });
      const options = { sampler: [stage], seed: 3, maxTokens: 20, ignoreEnd: true };
      await session.generate(tokens.slice(30, 95), options).text();
      texts.push([...session.tokens, ...session.logits()]);
    }
  }
  assert.equal(texts.slice(0, 2), texts.slice(2));
  assert.not.equal(texts[0], texts[1]);
});

early("need nothing turned on when sinks keep their distance in the cache", async () => {
  using model = await load();
  const policy = slidingWindow({ sinks: 4, recent: 36, every: 4 });
  const key = { format: "q4_0", beforeRope: true, rotate: true } as const;
  using session = model.session({ evict: policy, kv: { key, value: "f32" } });
  await session.prefill(tokens);
  // Sinks are what they were: nothing was rounded again.
  using whole = model.session({ context: 128, kv: { key, value: "f32" } });
  await whole.prefill(tokens.slice(0, 4));
  const part = { which: "key", layer: 1, to: 4 } as const;
  assert.equal(
    session.kv.read({ ...part, view: "unrotated" }),
    whole.kv.read({ ...part, view: "unrotated" }),
  );
  assert.not.equal(session.kv.read(part), whole.kv.read(part));
  assert.throws(
    () => model.session({ evict: policy, kv: { key: { format: "q4_0", rotate: true } } }),
    /without a Hadamard rotation, or stored before their rotary embedding/,
  );
});

early("are refused where they can't be", async () => {
  using model = await load();
  const stored = { format: "q4_0", beforeRope: true } as const;
  const refused = (kv: unknown, message: RegExp) =>
    assert.throws(() => model.session({ kv: kv as KvPolicy }), message);
  refused({ value: stored }, /keys to store before their rotary embedding in kv, but found values/);
  refused({ rules: [{ layers: 0, format: stored }] }, /but found values/);
  refused({ key: { ...stored, beforeRope: 1 } }, /kv\.key\.beforeRope to be.*1/);
  using session = model.session({ kv: { key: stored } });
  assert.throws(
    () => session.simulateKv({ key: { bits: 3 } }),
    /keys of layer 0, KV head 0, before their rotary embedding.*without beforeRope/,
  );
  assert.throws(() => session.simulateKv({ value: stored }), /before their rotation.*found values/);
  using late = model.session({ kv: { key: "f32", recent: 4 } });
  assert.throws(
    () => late.simulateKv({ key: { bits: 3, beforeRope: true } }),
    /stores keys before their rotary embedding in layer 0/,
  );
  for (const which of ["key", "value"] as const) {
    assert.throws(
      () => late.simulateKv({ [which]: { format: "q4_0", rotate: true } }),
      new RegExp(`stores ${which}s behind a Hadamard rotation in layer 0`),
    );
  }
});

early.run();
