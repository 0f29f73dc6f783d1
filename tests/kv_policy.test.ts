/** Cache policies: formats of single layers, KV heads, keys and values. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compareKv, estimate, type KvPolicy, loadModel, readSnapshot } from "../mod.ts";
import { inFewRules } from "../src/internal/few_rules.ts";
import { KvTable } from "../src/internal/kv_table.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1 });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);
const mixed: KvPolicy = {
  key: "q8_0",
  value: "f8_e4m3",
  rules: [
    { layers: 1, format: "f16" },
    { layers: [0, 1], heads: 1, which: "key", format: "f32" },
  ],
};

const policies = suite("cache policies");

policies("the last rule that fits holds", async () => {
  using model = await load();
  using session = model.session({ kv: mixed });
  const at = (which: "key" | "value", layer: number, head: number) =>
    session.kv.format({ which, layer, head });
  assert.equal([at("key", 0, 0), at("value", 0, 0)], ["q8_0", "f8_e4m3"]);
  assert.equal([at("key", 0, 1), at("value", 0, 1)], ["f32", "f8_e4m3"]);
  assert.equal([at("key", 1, 0), at("value", 1, 0)], ["f16", "f16"]);
  assert.equal([at("key", 1, 1), at("value", 1, 1)], ["f32", "f16"]);
  assert.is(session.kv.keyFormat, "mixed");
  assert.is(session.kv.valueFormat, "mixed");
  assert.equal(session.kv.policy.rules?.[0], { layers: [1], format: "f16" });
  using keys = model.session({ kv: { rules: [{ which: "key", format: "f32" }] } });
  assert.equal([keys.kv.keyFormat, keys.kv.valueFormat], ["f32", "f16"]);
});

policies("each head is stored as the policy says", async () => {
  using model = await load();
  using session = model.session({ context: 128, kv: mixed });
  await session.prefill(tokens);
  // What goes into the first layer depends on no cache.
  for (const head of [0, 1]) {
    const format = session.kv.format({ which: "key", layer: 0, head });
    using plain = model.session({ context: 128, kv: { key: format, value: "f8_e4m3" } });
    await plain.prefill(tokens);
    for (const view of ["decoded", "raw"] as const) {
      const part = { which: "key", layer: 0, head, view } as const;
      assert.equal(session.kv.read(part as never), plain.kv.read(part as never));
    }
  }
  assert.is(session.kv.read({ which: "key", layer: 0 }).length, 2 * 100 * 32);
  assert.throws(
    () => session.kv.read({ which: "key", layer: 0, view: "raw" }),
    /one head, because heads of layer 0 are stored differently.*q8_0 and f32/,
  );
  assert.ok(session.kv.read({ which: "value", layer: 0, view: "raw" }).codes instanceof Uint8Array);
});

policies("rules that say the same as two formats give the same bits", async () => {
  using model = await load();
  using plain = model.session({ kv: { key: "q8_0", value: "bf16" } });
  const rules = [{ which: "key", format: "q8_0" }, {
    layers: [0, 1],
    which: "value",
    format: "bf16",
  }];
  using ruled = model.session({ kv: { value: "f8_e5m2", rules } as KvPolicy });
  await plain.prefill(tokens);
  await ruled.prefill(tokens);
  assert.equal(ruled.logits(), plain.logits());
  assert.is(ruled.kv.bytes, plain.kv.bytes);
});

policies("forks keep it, and go on with the same bits", async () => {
  using model = await load();
  using session = model.session({ context: 256, kv: mixed });
  await session.prefill(tokens);
  using fork = session.fork();
  assert.equal(fork.kv.policy, session.kv.policy);
  await session.prefill([7, 8, 9]);
  await fork.prefill([7, 8, 9]);
  assert.equal(fork.logits(), session.logits());
  assert.equal(
    fork.kv.read({ which: "key", layer: 1, head: 1 }),
    session.kv.read({ which: "key", layer: 1, head: 1 }),
  );
});

policies("ledger, estimate and statistics go by head", async () => {
  using model = await load();
  using session = model.session({ context: 200, kv: mixed });
  await session.prefill(tokens);
  const ledger = session.kv.ledger();
  const [first, second] = ledger.layers;
  // 100 tokens of 32 values: 8-bit codes beside 4 bytes; one f16 scale for 32.
  assert.is(first!.keyPayload, 100 * 32 * (1 + 4));
  assert.is(first!.keyScales, 100 * 2);
  assert.is(second!.keyPayload, 100 * 32 * (2 + 4));
  assert.is(second!.valuePayload, 100 * 2 * 32 * 2);
  const parts = (row: typeof ledger.layers[number]) =>
    row.keyPayload + row.keyScales + row.valuePayload + row.valueScales + row.pageSlack + row.free;
  assert.is(parts(ledger), session.kv.bytes);
  assert.is(ledger.layers.reduce((sum, layer) => sum + parts(layer), 0), session.kv.bytes);
  assert.is(ledger.keyBits, (8.5 + 32 + 16 + 32) / 4);
  const expected = await estimate(path, { context: 200, kv: mixed });
  assert.is(expected.kvBytes, session.kv.bytes);
  assert.is(expected.keyBits, ledger.keyBits);
  assert.is(expected.valueBits, ledger.valueBits);
  const { whole, heads } = session.kv.statistics({ which: "key", layer: 0 });
  assert.is(whole.saturation, 0);
  assert.is(heads.length, 2);
});

policies("a comparison takes policies", async () => {
  using model = await loadModel(path, { threads: 1, precision: "float" });
  const { reference, candidates: [same, other] } = await compareKv(model, tokens, {
    reference: { rules: [{ layers: 0, format: "f32" }] },
    candidates: [{ key: "f32", value: "f32", rules: [{ layers: 1, format: "f16" }] }, mixed],
    speedTokens: 0,
  });
  assert.equal([reference.key, reference.bitsPerValue], ["mixed", 24]);
  assert.is(same!.kl.max, 0);
  assert.ok(other!.kl.mean > 0);
  assert.equal(other!.policy, {
    ...mixed,
    rules: [
      { layers: [1], format: "f16" },
      { layers: [0, 1], heads: [1], which: "key", format: "f32" },
    ],
  });
});

policies("what isn't a policy for this model is refused with the reason", async () => {
  using model = await load();
  const refused = (kv: object, message: RegExp) =>
    assert.throws(() => model.session({ kv: kv as KvPolicy }), message);
  refused(
    { rule: [] },
    /option of kv \(key, value, rules, shape, sinks, recent, exact\), but found "rule"/,
  );
  // What a file with nothing but null says is no default.
  refused(null as never, /an object with the options of kv, but found null/);
  refused({ rules: {} }, /kv\.rules to be an array, but found an Object/);
  refused({ rules: [7] }, /options of kv\.rules\[0\], but found 7/);
  refused({ rules: [{}] }, /kv\.rules\[0\]\.format to be one of f32.*but found none/);
  refused({ rules: [{ format: "f16" }, { format: "q9" }] }, /kv\.rules\[1\]\.format.*"q9"/);
  refused({ rules: [{ format: "f16", layer: 1 }] }, /option of kv\.rules\[0\].*"layer"/);
  refused(
    { rules: [{ format: "f16", layers: 2 }] },
    /rules\[0\]\.layers.*from 0 to 1, but found 2/,
  );
  refused({ rules: [{ format: "f16", layers: [] }] }, /layers to name at least one/);
  refused({ rules: [{ format: "f16", heads: [0, 2] }] }, /rules\[0\]\.heads.*from 0 to 1/);
  refused({ rules: [{ format: "f16", heads: "0" }] }, /heads to be a number, but found "0"/);
  refused({ rules: [{ format: "f16", which: "keys" }] }, /which to be one of key, value/);
  refused({ shape: { layers: 30, heads: 3 } }, /for a model of 2 layers of 2 KV heads, but found/);
  refused({ shape: { layers: 2 } }, /kv\.shape\.heads to be a number/);
  const odd = tinyModel({ embedding: 64 });
  using narrow = await loadModel(odd, { threads: 1 });
  assert.throws(
    () => narrow.session({ kv: { rules: [{ layers: 1, which: "value", format: "q8_0" }] } }),
    /cache format for values that takes heads of/,
  );
});

policies("a saved session has the policy in as many rules as one would write", async () => {
  using model = await load();
  const key = { format: "q4_0", rotate: true } as const;
  const rule = { layers: [1], heads: [0], which: "value", format: "f32" } as const;
  for (
    const kv of [
      { key, value: "q8_0" },
      { key, value: key },
      { key: "f32", value: "q8_0", rules: [{ layers: [0], which: "key", format: key }] },
      { key: "f16", value: "q8_0", rules: [rule] },
      { key: { ...key, beforeRope: true }, value: "q8_0", sinks: 2, recent: 4, exact: "f32" },
    ] as readonly KvPolicy[]
  ) {
    using session = model.session({ context: 64, kv });
    await session.prefill(tokens.slice(0, 9));
    const file = temporaryPath("policy.session");
    await session.save(file);
    using snapshot = readSnapshot(file);
    assert.equal(snapshot.policy, kv);
    using restored = await model.restore(file);
    assert.equal(restored.kv.policy, kv);
    assert.equal(restored.kv.ledger(), session.kv.ledger());
  }
  // What depends on the order of rules stays in it.
  const overlapping: KvPolicy = {
    key: "f16",
    value: "f16",
    rules: [
      { layers: [0], which: "key", format: "f32" },
      { layers: [0, 1], which: "key", format: "q8_0" },
      { layers: [1], which: "key", format: "f32" },
    ],
  };
  const shape = { layers: 2, heads: 2, keyLength: 32, valueLength: 32 };
  const table = new KvTable(overlapping, shape, "kv");
  assert.equal(inFewRules(table).formats("key"), ["q8_0", "q8_0", "f32", "f32"]);
});

policies("a comparison says which of its caches is wrong", async () => {
  using model = await load();
  const rejected = async (options: object, message: RegExp) => {
    let found = "";
    const { candidates = [{}] } = options as { candidates?: [] };
    await compareKv(model, tokens, { ...options, candidates }).catch((error) => found = `${error}`);
    assert.match(found, message);
  };
  const far = { rules: [{ layers: 2, format: "f16" }] };
  await rejected({ candidates: [{}, far] }, /candidates\[1\]\.rules\[0\]\.layers.*found 2/);
  await rejected({ reference: far }, /reference\.rules\[0\]\.layers.*found 2/);
  let wrong = "";
  await compareKv(model, 5 as never, { candidates: [{}] }).catch((error) => wrong = `${error}`);
  assert.match(wrong, /text to be text or an array of token ids, but found 5/);
  await rejected({ reference: null }, /options of reference, but found null/);
  await rejected({ candidates: [{}, undefined] }, /options of candidates\[1\], but found/);
  const wide = { simulate: { key: { bits: 9 } } };
  await rejected({ candidates: [{}, wide] }, /candidates\[1\]\.simulate\.key\.bits.*found 9/);
});

policies.run();
