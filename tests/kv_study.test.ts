/** What the KV cache takes and costs: ledger, estimate, statistics, comparison of formats. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compareKv,
  estimate,
  type KvBytes,
  type KvFormat,
  kvFormats,
  KvLedgerLog,
  loadModel,
  type Session,
} from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1 });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const study = suite("the KV cache under study");

function partsOf(row: KvBytes): number {
  return row.keyPayload + row.keyScales + row.valuePayload + row.valueScales + row.pageSlack +
    row.free;
}

for (const format of kvFormats) {
  study(`${format}: the ledger adds up, and the estimate is what is allocated`, async () => {
    using model = await load();
    for (const [key, value] of [[format, "f16"], ["f32", format]] as [KvFormat, KvFormat][]) {
      using session = model.session({ context: 200, kv: { key, value } });
      const sums: number[] = [];
      for (const count of [0, 1, 63, 36]) {
        if (count > 0) await session.prefill(tokens.slice(0, count));
        const ledger = session.kv.ledger();
        assert.is(partsOf(ledger), session.kv.bytes);
        assert.is(ledger.layers.length, 2);
        assert.is(ledger.layers.reduce((sum, layer) => sum + layer.bytes, 0), session.kv.bytes);
        for (const layer of ledger.layers) assert.is(partsOf(layer), layer.bytes);
        assert.is(ledger.shared, 0);
        // Two layers, two heads, 32 values.
        const stored = 2 * 2 * 32 * session.position;
        assert.is(ledger.keyPayload + ledger.keyScales, stored * ledger.keyBits / 8);
        assert.is(ledger.valuePayload + ledger.valueScales, stored * ledger.valueBits / 8);
        sums.push(session.kv.pages.used * session.kv.pages.bytes);
        assert.is(partsOf({ ...ledger, free: 0 }), sums.at(-1));
      }
      assert.ok(sums[0] === 0 && sums[3]! > sums[1]!);
      const expected = await estimate(path, { context: 200, kv: { key, value } });
      assert.is(expected.kvBytes, session.kv.bytes);
      assert.is(expected.kvBytesPerToken * 256, session.kv.bytes);
      assert.is(expected.keyBits, session.kv.ledger().keyBits);
      assert.is(expected.weightsBytes, model.tensors.reduce((sum, { bytes }) => sum + bytes, 0));
      assert.is(expected.bytes, expected.weightsBytes + expected.kvBytes);
    }
  });
}

study("what forks have in common is shared in the ledger", async () => {
  using model = await load();
  using session = model.session({ context: 256 });
  await session.prefill(tokens);
  using fork = session.fork();
  const { bytes } = session.kv.pages;
  assert.is(session.kv.ledger().shared, 2 * bytes);
  await fork.prefill([9]);
  assert.is(fork.kv.ledger().shared, bytes);
  assert.is(partsOf(fork.kv.ledger()), fork.kv.bytes);
});

study("ledgers over time, of each sequence", async () => {
  using model = await load();
  using session = model.session({ context: 256, kv: { key: "q8_0" } });
  await session.prefill(tokens.slice(0, 62));
  using fork = session.fork();
  const log = new KvLedgerLog({ trunk: session, branch: fork });
  log.note();
  const ledgers = [session.kv.ledger(), fork.kv.ledger()];
  for await (const _ of fork.generate([5], { maxTokens: 4, ignoreEnd: true })) log.note();
  const columns = log.columns();
  assert.equal([columns.rows, log.names], [10, ["trunk", "branch"]]);
  assert.equal([...columns.sequence], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
  for (const [row, ledger] of ledgers.entries()) {
    assert.is(columns.positions[row], 62);
    for (const part of ["bytes", "keyPayload", "keyScales", "pageSlack", "shared"] as const) {
      assert.is(columns[part][row], ledger[part]);
    }
  }
  const parts = ["keyPayload", "keyScales", "valuePayload", "valueScales"] as const;
  for (let row = 0; row < columns.rows; row++) {
    const sum = [...parts, "pageSlack" as const, "free" as const]
      .reduce((all, part) => all + columns[part][row]!, 0);
    assert.is(sum, session.kv.bytes);
    assert.ok(row < 2 || columns.time[row]! >= columns.time[row - 2]!);
  }
  // The trunk stays as it is; the branch has its own copy of the page that it writes to.
  assert.equal([...columns.positions].filter((_, row) => row % 2 === 0), [62, 62, 62, 62, 62]);
  assert.is(columns.positions[9], fork.kv.positions);
  assert.is(columns.shared[1], session.kv.pages.bytes);
  assert.is(columns.shared[9], 0);
  assert.throws(() => new KvLedgerLog({}), /sessions by names/);
  assert.throws(() => new KvLedgerLog({ a: 7 as never }), /sessions by names/);
  fork.dispose();
  assert.throws(() => log.note(), /still open/);
  assert.is(log.columns().rows, 10);
});

study("LLaMA-2-7B at 2,048 tokens takes what the documentation says", async () => {
  // Nothing but metadata: no weights are read.
  const u32 = (value: number) => ({ type: "uint32" as const, value });
  const llama = tinyModel({
    vocabularyOnly: true,
    metadata: {
      "llama.block_count": u32(32),
      "llama.embedding_length": u32(4096),
      "llama.attention.head_count": u32(32),
      "llama.attention.head_count_kv": u32(32),
      "llama.rope.dimension_count": u32(128),
    },
  });
  const gib = async (format: KvFormat) =>
    (await estimate(llama, { context: 2048, kv: { key: format, value: format } })).kvBytes /
    2 ** 30;
  assert.is(await gib("f32"), 2);
  assert.is(await gib("f16"), 1);
  assert.is(await gib("q8_0"), 0.53125);
  assert.is(await gib("f8_e4m3"), 0.5);
  assert.is(await gib("q4_0"), 0.28125);
});

study("bits per value with scales", async () => {
  const bits = async (format: KvFormat) =>
    (await estimate(path, { kv: { key: format, value: format } })).keyBits;
  assert.is(await bits("f32"), 32);
  assert.is(await bits("f16"), 16);
  assert.is(await bits("q8_0"), 8.5);
  assert.is(await bits("int8"), 8.5); // heads of 32 values
  assert.is(await bits("f8_e4m3"), 8);
  assert.is(await bits("q5_1"), 6);
  assert.is(await bits("q5_0"), 5.5);
  assert.is(await bits("q4_1"), 5);
  assert.is(await bits("q4_0"), 4.5);
  assert.is(await bits("iq4_nl"), 4.5);
  assert.is(await bits("nvfp4"), 4.5);
  assert.is(await bits("mxfp4"), 4.25);
});

study("an estimate refuses what a session would refuse", async () => {
  const refused = async (options: object, message: RegExp) => {
    try {
      await estimate(path, options);
    } catch (error) {
      return assert.match((error as Error).message, message);
    }
    assert.unreachable("expected an error");
  };
  await refused({ context: 0 }, /context to be a whole number from 1/);
  await refused({ contxt: 1 }, /option of estimate/);
  await refused({ kv: { key: "f17" } }, /kv\.key to be one of/);
  const odd = tinyModel({ embedding: 64 });
  await assertRejects(
    estimate(odd, { kv: { key: "q8_0" } }),
    /heads of a multiple of 32 values to keep keys in q8_0, but found 16/,
  );
});

async function assertRejects(promise: Promise<unknown>, message: RegExp): Promise<void> {
  try {
    await promise;
  } catch (error) {
    return assert.match((error as Error).message, message);
  }
  assert.unreachable(`expected an error like ${message}`);
}

study("statistics are those of the numbers that are read", async () => {
  using model = await load();
  using session = model.session({ kv: { key: "f32", value: "f8_e4m3" } });
  await session.prefill(tokens);
  for (const which of ["key", "value"] as const) {
    const all = session.kv.read({ which, layer: 1 });
    const found = session.kv.statistics({ which, layer: 1, deviations: 1.5 });
    assert.is(found.positions, 100);
    assert.is(found.heads.length, 2);
    assert.is(found.channels.mean.length, 64);
    expectMoments(found.whole, all, 1.5);
    expectMoments(found.heads[1]!, all.slice(100 * 32), 1.5);
    const channel = all.slice(100 * 32).filter((_, i) => i % 32 === 7);
    const row = Object.fromEntries(
      Object.entries(found.channels).map(([name, column]) => [name, column[32 + 7]]),
    );
    expectMoments(row as unknown as typeof found.whole, channel, 1.5);
    const own = session.kv.statistics({ which, layer: 1, head: 1, deviations: 1.5 });
    assert.equal(own.whole, found.heads[1]);
    assert.equal(own.channels.variance, found.channels.variance.slice(32));
  }
  const part = session.kv.statistics({ which: "key", layer: 0, from: 3, to: 5, view: "unrotated" });
  assert.is(part.positions, 2);
  const none = session.kv.statistics({ which: "key", layer: 0, from: 3, to: 3 });
  assert.ok(Number.isNaN(none.whole.mean) && Number.isNaN(none.whole.minimum));
});

/** The figures by their definitions. */
function expectMoments(
  found: ReturnType<Session["kv"]["statistics"]>["whole"],
  given: Float32Array,
  deviations: number,
): void {
  const values = Array.from(given);
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const central = (power: number) =>
    values.reduce((sum, x) => sum + (x - mean) ** power, 0) / values.length;
  const deviation = Math.sqrt(central(2));
  const outliers = values.filter((x) => Math.abs(x - mean) > deviations * deviation).length;
  const close = (a: number, b: number) =>
    assert.ok(Math.abs(a - b) <= 1e-9 * (1 + Math.abs(b)), `${a} and ${b}`);
  close(found.mean, mean);
  close(found.variance, central(2));
  close(found.kurtosis, central(4) / central(2) ** 2);
  assert.is(found.minimum, Math.min(...values));
  assert.is(found.maximum, Math.max(...values));
  assert.is(found.outlierShare, outliers / values.length);
  assert.is(found.nonFinite, 0);
  assert.is(found.saturation, 0);
}

study("what is too large for a format saturates, and what is no number is counted", async () => {
  using model = await load();
  using session = model.session({ context: 128, kv: { key: "f8_e4m3", value: "f32" } });
  {
    using _hooks = session.hooks({
      // Of 64 values a row in two heads, the first of each row is too large.
      "blocks.0.k": ({ values }) => values.map((x, i) => i % 64 === 0 ? 1e6 : x),
      "blocks.1.v": ({ values, width }) => {
        values[width + 40] = NaN;
      },
    });
    await session.prefill(tokens);
  }
  const { whole, heads, channels } = session.kv.statistics({ which: "key", layer: 0 });
  assert.is(whole.maximum, 448);
  assert.equal([whole.saturation, heads[0]!.saturation, heads[1]!.saturation], [1 / 64, 1 / 32, 0]);
  assert.equal([channels.saturation[0], channels.saturation[1]], [1, 0]);
  const values = session.kv.statistics({ which: "value", layer: 1 });
  assert.is(values.whole.nonFinite, 1 / 6400);
  assert.is(values.channels.nonFinite[40], 1 / 100);
  assert.ok(Number.isFinite(values.whole.mean) && Number.isFinite(values.whole.kurtosis));
});

study("a comparison whose logits are no numbers says which cache it was", async () => {
  using model = await load();
  const broken = { simulate: { value: (values: Float32Array<ArrayBuffer>) => values.fill(NaN) } };
  await assertRejects(
    compareKv(model, tokens, { candidates: [{}, broken], speedTokens: 0 }),
    /Expected logits that are numbers with a simulated cache, but found others/,
  );
  // The model goes on.
  const { candidates } = await compareKv(model, tokens, { candidates: [{}], speedTokens: 0 });
  assert.ok(candidates[0]!.kl.mean >= 0);
});

study("what a session that is gone had is refused with the reason", async () => {
  using model = await load();
  const session = model.session();
  await session.prefill(tokens);
  session.dispose();
  const { kv } = session;
  for (
    const look of [
      () => kv.ledger(),
      () => kv.pages,
      () => kv.positions,
      () => kv.statistics({ which: "key", layer: 0 }),
      () => session.meter(),
      () => session.simulateKv({}),
    ]
  ) assert.throws(look, /Expected a session that is still open, but it was disposed of/);
  const place = { which: "key", layer: 0, head: 0 } as const;
  assert.is(kv.format(place), "f16");
  assert.throws(() => kv.format({ ...place, layer: 2 }), /layer to be .* from 0 to 1, but found 2/);
  assert.throws(() => kv.format({ ...place, head: -1 }), /head to be .* from 0 to 1, but found -1/);
});

study("statistics refuse what isn't there", async () => {
  using model = await load();
  using session = model.session();
  await session.prefill(tokens);
  const refused = (options: object, message: RegExp) =>
    assert.throws(
      () => session.kv.statistics(options as { which: "key"; layer: number }),
      message,
    );
  refused({ which: "key", layer: 2 }, /layer to be a whole number from 0 to 1/);
  refused({ which: "key", layer: 0, deviations: 0 }, /deviations to be more than 0, but found 0/);
  refused({ which: "key", layer: 0, view: "raw" }, /decoded or unrotated/);
  refused({ which: "key", layer: 0, outliers: 3 }, /option of statistics/);
});

study("a cache beside itself is the same", async () => {
  // Activations rounded to 8 bits would make more of the small differences.
  using model = await loadModel(path, { threads: 1, precision: "float" });
  const found = await compareKv(model, tokens, {
    reference: { key: "f16", value: "f16" },
    candidates: [{ key: "f16" }, { key: "f32", value: "f32" }],
    context: 64,
    speedTokens: 2,
  });
  assert.is(found.tokens, 100);
  assert.is(found.predicted, 63 + 35);
  const [same, wide] = found.candidates;
  assert.is(same!.kl.max, 0);
  assert.is(same!.sameTop, 1);
  assert.is(same!.perplexity, found.reference.perplexity);
  const none = { keyError: 0, valueError: 0, attentionError: 0 };
  assert.equal(same!.layers, [none, none]);
  assert.ok(wide!.layers.every(({ attentionError: error }) => error > 0 && error < 1e-2));
  assert.ok(wide!.kl.mean > 0 && wide!.kl.mean < 1e-4);
  assert.ok(wide!.layers.every(({ keyError }) => keyError > 0 && keyError < 1e-2));
  assert.is(same!.bitsPerValue, 16);
  assert.ok(same!.tokensPerSecond > 0);
  assert.is(same!.depth, 36);
});

study("a comparison is that of the logits", async () => {
  using model = await load();
  const kv = { key: "f8_e5m2", value: "q8_0" } as const;
  const found = await compareKv(model, tokens, { candidates: [kv], context: 50, speedTokens: 0 });
  const candidate = found.candidates[0]!;
  assert.ok(Number.isNaN(candidate.tokensPerSecond));
  const divergences: number[] = [];
  let [nll, same] = [0, 0];
  for (const from of [0, 50]) {
    using a = model.session({ context: 50, kv: { key: "f32", value: "f32" } });
    using b = model.session({ context: 50, kv });
    for (const session of [a, b]) {
      await session.prefill(tokens.slice(from, from + 50), { allLogits: true });
    }
    for (let row = 0; row < 50; row++) {
      const [p, q] = [softmax(a.logits(row)), softmax(b.logits(row))] as [number[], number[]];
      divergences.push(p.reduce((sum, x, i) => sum + x * Math.log(x / q[i]!), 0));
      if (p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q))) same++;
      if (row < 49) nll -= Math.log(q[tokens[from + row + 1]!]!);
    }
  }
  const mean = divergences.reduce((sum, x) => sum + x, 0) / 100;
  assert.ok(Math.abs(candidate.kl.mean - mean) < 1e-9, `${candidate.kl.mean} and ${mean}`);
  const sorted = divergences.sort((a, b) => a - b);
  assert.ok(Math.abs(candidate.kl.p99 - sorted[98]!) < 1e-9);
  assert.ok(Math.abs(candidate.kl.max - sorted[99]!) < 1e-9);
  assert.is(candidate.sameTop, same / 100);
  assert.ok(Math.abs(Math.log(candidate.perplexity) - nll / 98) < 1e-6);
});

study("the error of attention's output is that of what heads find in the last piece", async () => {
  using model = await loadModel(path, { threads: 1, precision: "float" });
  const kv = { key: "q4_0", value: "q4_0" } as const;
  const options = { candidates: [kv], context: 60, speedTokens: 0 };
  const { candidates: [found] } = await compareKv(model, tokens, options);
  const heads = await Promise.all([{ key: "f32", value: "f32" } as const, kv].map(async (kv) => {
    using session = model.session({ context: 60, kv });
    using recording = session.record(["blocks.*.z"]);
    await session.prefill(tokens.slice(60));
    return recording.names.map((name) => recording.get(name).values);
  }));
  for (const [layer, { attentionError }] of found!.layers.entries()) {
    const [expected, z] = heads.map((values) => values[layer] as Float32Array) as [
      Float32Array,
      Float32Array,
    ];
    const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
    const wanted = norm(expected.map((x, i) => x - z[i]!)) / norm(expected);
    assert.ok(wanted > 1e-3 && Math.abs(attentionError - wanted) < 1e-6 * wanted);
  }
  const without = await compareKv(model, tokens, { ...options, attentionError: false });
  assert.ok(without.candidates[0]!.layers.every((row) => Number.isNaN(row.attentionError)));
  // Looking changes nothing.
  assert.equal(without.candidates[0]!.kl, found!.kl);
});

function softmax(logits: Float32Array): number[] {
  const values = Array.from(logits);
  const highest = Math.max(...values);
  const weights = values.map((x) => Math.exp(x - highest));
  const sum = weights.reduce((total, x) => total + x, 0);
  return weights.map((x) => x / sum);
}

study("a comparison that can't be made is refused", async () => {
  using model = await load();
  const refused = (text: number[], options: object, message: RegExp) =>
    assertRejects(compareKv(model, text, options as { candidates: [] }), message);
  await refused(tokens, {}, /candidates to be an array of at least one cache/);
  await refused(tokens, { candidates: [] }, /at least one cache/);
  await refused(tokens, { candidates: [{ key: "q8" }] }, /candidates\[0\]\.key to be one of/);
  await refused(tokens, { candidates: [{ keys: "q8_0" }] }, /option of candidates\[0\]/);
  await refused([5], { candidates: [{}] }, /at least two tokens, but found 1/);
  await refused(tokens, { candidates: [{}], context: 1 }, /context to be a whole number from 2/);
  const signal = AbortSignal.abort();
  await refused(tokens, { candidates: [{}], signal }, /abort/i);
});

study.run();
