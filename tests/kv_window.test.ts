/** Tokens that a cache keeps at full precision: the first and the last ones. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compareKv,
  estimate,
  evictBy,
  h2o,
  kvGroupFormats,
  type KvPolicy,
  loadModel,
  readSnapshot,
  slidingWindow,
  snapKv,
  tova,
} from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1 });
const tokens = Array.from({ length: 200 }, (_, i) => 3 + (i * 37) % 256);
const narrow = { key: "q4_0", value: "q4_0" } as const;
const windowed: KvPolicy = {
  ...narrow,
  sinks: 3,
  recent: 40,
  rules: [{ layers: 1, recent: 0 }, { layers: 1, which: "value", format: "q8_0" }],
};

const windows = suite("tokens at full precision");

windows("are the first and the last ones, after every step", async () => {
  using model = await load();
  using session = model.session({ context: 256, kv: windowed });
  using full = model.session({ context: 256 });
  using rounded = model.session({ context: 256, kv: narrow });
  let at = 0;
  for (const count of [1, 2, 50, 64, 1, 63]) {
    const read = async (one: typeof session) => {
      await one.prefill(tokens.slice(at, at + count));
      return one.kv.read({ which: "key", layer: 0, head: 1 });
    };
    const [own, exact, coarse] = [await read(session), await read(full), await read(rounded)];
    at += count;
    let found = 0;
    for (let position = 0; position < at; position++) {
      const row = (values: Float32Array) => values.subarray(32 * position, 32 * position + 32);
      const isExact = row(own).every((value, i) => value === row(exact)[i]);
      if (!isExact) assert.equal(row(own), row(coarse));
      found += Number(isExact);
    }
    assert.is(found, Math.min(at, 43));
  }
});

windows("are accounted for, exactly, and estimated", async () => {
  using model = await load();
  for (const kv of [windowed, { ...narrow, sinks: 70 }, { recent: 500, exact: "f32" }] as const) {
    using session = model.session({ context: 512, kv });
    const about = await estimate(path, { context: 512, kv });
    assert.is(about.kvBytes, session.kv.bytes);
    for (const count of [0, 100, 100]) {
      if (count > 0) await session.prefill(tokens.slice(0, count));
      const ledger = session.kv.ledger();
      for (const part of [ledger, ...ledger.layers]) {
        const { keyPayload, keyScales, valuePayload, valueScales, exact, pageSlack, free } = part;
        assert.is(
          keyPayload + keyScales + valuePayload + valueScales + exact + pageSlack + free,
          part.bytes,
        );
      }
      assert.is(ledger.bytes, session.kv.bytes);
      if (count > 0) assert.ok(ledger.exact > 0);
      using fork = session.fork();
      assert.is(fork.kv.pages.exact.shared, session.kv.pages.exact.used);
    }
  }
  using session = model.session({ context: 512, kv: { ...narrow, sinks: 70 } });
  await session.prefill(tokens);
  // Keys and values of 70 tokens, two layers, two heads of 32 values in f16.
  assert.is(session.kv.ledger().exact, 70 * 2 * 2 * 2 * 32 * 2);
  assert.equal(session.kv.pages.exact, { max: 2, used: 2, shared: 0 });
});

windows("are saved with a session", async () => {
  using model = await load();
  using session = model.session({ context: 256, kv: windowed });
  await session.prefill(tokens);
  const file = temporaryPath("window.session");
  await session.save(file);
  using snapshot = readSnapshot(file);
  snapshot.verify();
  for (const which of ["key", "value"] as const) {
    for (const layer of [0, 1]) {
      assert.equal(snapshot.read({ which, layer }), session.kv.read({ which, layer }));
      const part = { which, layer, head: 1, from: 2, to: 170 } as const;
      assert.equal(snapshot.read(part), session.kv.read(part));
    }
  }
  using restored = await model.restore(file);
  assert.equal(restored.kv.policy.recent, 40);
  const next = [session, restored].map((one) =>
    one.generate("", { maxTokens: 12, seed: 1 }).text()
  );
  const [own, other] = await Promise.all(next);
  assert.is(own, other);
  assert.equal(restored.logits(), session.logits());
  assert.equal(restored.kv.ledger(), session.kv.ledger());
});

windows("pass through no quantiser", async () => {
  using model = await load();
  using session = model.session({ context: 256, kv: windowed });
  const { key: _key, value: _value, ...rest } = windowed;
  const store = { ...rest, key: "f32", value: "f32", rules: [{ layers: 1, recent: 0 }] } as const;
  using simulated = model.session({ context: 256, kv: store });
  using _simulation = simulated.simulateKv(windowed);
  for (const one of [session, simulated]) await one.prefill(tokens);
  for (const which of ["key", "value"] as const) {
    const part = { which, layer: 0 };
    assert.equal(simulated.kv.read(part), session.kv.read(part));
  }
  using plain = model.session({ context: 256, kv: { key: "f32", value: "f32" } });
  assert.throws(() => plain.simulateKv(windowed), /sinks and recent tokens of simulation.*3 \+ 40/);
  const early = { key: { bits: 4, beforeRope: true } } as const;
  assert.throws(() => session.simulateKv(early), /stores keys before their rotary.*in layer 0/);
  const { candidates } = await compareKv(model, tokens, {
    candidates: [windowed, { simulate: windowed }, narrow],
  });
  const [real, same, none] = candidates;
  assert.is(real!.bitsPerValue, same!.bitsPerValue);
  // So it is behind the first piece, whatever rest of the text the window can hold whole.
  const pieces = await compareKv(model, tokens, {
    candidates: [windowed],
    context: tokens.length - 5,
    speedTokens: 0,
  });
  assert.ok(pieces.candidates[0]!.bitsPerValue < real!.bitsPerValue + 1);
  assert.is(real!.bytes, same!.bytes);
  // The first layer's keys don't depend on what the others find.
  assert.is(real!.layers[0]!.keyError, same!.layers[0]!.keyError);
  assert.ok(same!.layers[0]!.keyError < none!.layers[0]!.keyError);
});

windows("of a session that evicts are what simulated ones are, after every step", async () => {
  using model = await load();
  const rest = { sinks: 3, recent: 20 } as const;
  for (
    const evict of [
      slidingWindow({ sinks: 4, recent: 40, every: 3 }),
      h2o({ budget: 40, recent: 12 }),
      tova({ budget: 40, every: 9 }),
      snapKv({ budget: 60, window: 8 }),
      evictBy(({ count }) => [...Array(count).keys()].filter((i) => i < 3 || i > count - 30), {
        budget: 40,
        scores: "none",
        every: 10,
      }),
    ]
  ) {
    const kv = { ...rest, key: "q4_0", value: "q5_1" } as const;
    using real = model.session({ context: 256, evict, kv });
    using simulated = model.session({
      context: 256,
      evict,
      kv: { ...kv, key: "f32", value: "f32" },
    });
    using _simulation = simulated.simulateKv(kv);
    for (const count of [10, 60, 1, 1, 30, 2]) {
      for (const one of [real, simulated]) await one.prefill(tokens.slice(0, count));
      // What is kept by scores depends on the rounding of all layers, of windows on nothing.
      if (evict.name !== "sliding_window" && evict.name !== "script") continue;
      assert.equal(real.kv.textPositions, simulated.kv.textPositions);
      const part = { which: "value", layer: 0 } as const;
      assert.equal(real.kv.read(part), simulated.kv.read(part), evict.name);
    }
    const sum = real.kv.ledger();
    assert.is(sum.bytes, real.kv.bytes);
  }
  using wrong = model.session({
    kv: { recent: 20 },
    evict: evictBy(({ count }) => [count - 1, 0], { budget: 40 }),
  });
  let message = "";
  await wrong.prefill(tokens).catch((error) => message = `${error.code} ${error.message}`);
  assert.match(message, /evict-failed evictBy.*the last 20 of 41 tokens.*found 21 not among/);
  assert.throws(
    () => model.session({ kv: { recent: 20, sinks: 4 }, evict: tova({ budget: 23 }) }),
    /budget for the tokens that stay.*found 23 for 4 sinks and 20 recent/,
  );
  for (const key of kvGroupFormats) {
    assert.throws(
      () => model.session({ kv: { recent: 32, key }, evict: tova({ budget: 50 }) }),
      new RegExp(`rounded token by token.*${key} in layer 0.*rounds 32 at a time`),
    );
  }
});

windows("of sessions in a pool are theirs alone", async () => {
  using model = await load();
  using pool = model.kvPool({ pages: 6, kv: windowed, whenFull: "evict" });
  using own = model.session({ context: 256, kv: windowed });
  await own.prefill(tokens);
  const sessions = [0, 1].map(() => pool.session({ context: 256 }));
  for (const session of sessions) {
    await session.prefill(tokens);
    assert.equal(session.logits(), own.logits());
    assert.is(session.stats.reusedTokens, 0);
    assert.is(session.kv.ledger().bytes, session.kv.bytes);
  }
  assert.throws(() => sessions[0]!.kv.read({ which: "key", layer: 0 }), /pool has taken those/);
  await own.prefill(tokens.slice(0, 9));
  for (const session of sessions) {
    await session.prefill(tokens.slice(0, 9));
    assert.equal(session.logits(), own.logits());
    assert.equal(
      session.kv.read({ which: "key", layer: 0 }),
      own.kv.read({ which: "key", layer: 0 }),
    );
  }
  for (const session of sessions) session.dispose();
  assert.is(pool.stats.used, 0);
});

windows("that are gone don't come back", async () => {
  using model = await load();
  using session = model.session({ context: 512, kv: windowed });
  for (let i = 0; i < 8; i++) await session.prefill(tokens.slice(0, 50));
  session.truncate(350);
  assert.throws(
    () => session.truncate(100),
    /last tokens are still there at full precision, from \d+ on or 0, found 100; fork/,
  );
  assert.is(session.position, 350);
  session.truncate(2);
  await session.prefill(tokens);
});

windows("are refused where they can't be", async () => {
  using model = await load();
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [{ sinks: -1 }, /kv\.sinks to be.*-1/],
    [{ recent: 1.5 }, /kv\.recent/],
    [{ recent: 2, exact: "q8_0" }, /kv\.exact to be.*f16.*f32.*q8_0/],
    [
      { rules: [{ layers: 0, heads: 1, recent: 4 }] },
      /rules\[0\] to name no heads.*recent belongs/,
    ],
    [{ rules: [{ which: "key", sinks: 4, recent: 4 }] }, /sinks and recent belong to whole layers/],
    [{ rules: [{ layers: 2, recent: 4 }] }, /rules\[0\]\.layers/],
    [{ rules: [{ layers: 0 }] }, /rules\[0\]\.format to be one of/],
  ];
  for (const [kv, message] of wrong) {
    assert.throws(() => model.session({ kv: kv as KvPolicy }), message);
  }
});

windows.run();
