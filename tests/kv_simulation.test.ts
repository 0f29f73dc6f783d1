/** Simulated caches: quantisers described in JSON, real formats, and functions. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  compareKv,
  type KvFormat,
  kvFormats,
  kvLevels,
  type KvScheme,
  type KvSimulation,
  loadModel,
  type Model,
} from "../mod.ts";
import { kvLayouts } from "../src/internal/kv_layout.ts";
import { checkScheme } from "../src/internal/kv_simulation.ts";
import { quantise, schemeBits } from "../src/internal/quantise.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1, precision: "float" });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);
const full = { context: 128, kv: { key: "f32", value: "f32" } } as const;

const simulation = suite("simulated caches");

for (const format of kvFormats) {
  simulation(`${format}: simulated and real agree bit for bit`, async () => {
    using model = await load();
    // What goes into the first layer depends on no cache.
    const both = { key: format, value: format };
    const [real, simulated] = await decode(model, both);
    assert.equal(simulated.keys, real.keys);
    assert.equal(simulated.values, real.values);
    // Over integer keys attention rounds the queries too, which is no matter of the cache.
    const [a, b] = kvLayouts[format].unit > 1
      ? await decode(model, { ...both, key: "f32" })
      : [real, simulated];
    // What attention makes of the same numbers is the same but for the order of sums.
    const worst = a.logits.reduce((most, x, i) => Math.max(most, Math.abs(x - b.logits[i]!)), 0);
    assert.ok(worst < 2e-4, `${worst}`);
  });
}

/** What a cache of these formats holds and makes of the tokens, and what a simulated one does. */
async function decode(model: Model, kv: { key: KvFormat; value: KvFormat }) {
  using real = model.session({ context: 128, kv });
  using session = model.session(full);
  using _simulation = session.simulateKv(kv);
  const found = [];
  for (const  of of[real, session]) {
    await of.prefill(tokens);
    found.push({
      keys: of.kv.read({ which: "key", layer: 0 }),
      values: of.kv.read({ which: "value", layer: 0 }),
      logits: of.logits(),
    });
  }
  return found as [typeof found[number], typeof found[number]];
}

/** Quantises by the definition, group by group. */
function byHand(values: number[], { bits, symmetric = false }: KvScheme): number[] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (symmetric) {
    const most = 2 ** (bits - 1) - 1;
    const step = Math.f16round(Math.max(-low, high) / most);
    return values.map((x) =>
      Math.fround(step * Math.max(-most, Math.min(most, Math.round(x / step))))
    );
  }
  const most = 2 ** bits - 1;
  const [zero, step] = [Math.f16round(low), Math.f16round((high - low) / most)];
  return values.map((x) =>
    Math.fround(zero + step * Math.max(0, Math.min(most, Math.round((x - zero) / step))))
  );
}

const some = (count: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * i + 1) * (1 + i % 7));

simulation("groups lie along tokens or channels, at multiples of their size", () => {
  // 10 tokens of 8 values, from position 5.
  const extent = { position: 5, rows: 10, length: 8 };
  for (const symmetric of [false, true]) {
    const rows = some(80);
    const scheme: KvScheme = { bits: 3, group: 4, symmetric };
    quantise(rows, extent, checkScheme(scheme, "scheme"));
    const group = Array.from(some(80).slice(3 * 8 + 4, 3 * 8 + 8));
    assert.equal(Array.from(rows.slice(3 * 8 + 4, 3 * 8 + 8)), byHand(group, scheme));

    const channels = some(80);
    quantise(channels, extent, checkScheme({ ...scheme, axis: "channel" }, "scheme"));
    // Positions 5 to 7, 8 to 11 and 12 to 14.
    for (const [from, to] of [[0, 3], [3, 7], [7, 10]] as [number, number][]) {
      const at = Array.from({ length: to - from }, (_, i) => (from + i) * 8 + 6);
      const own = at.map((i) => some(80)[i] as number);
      assert.equal(at.map((i) => channels[i]), byHand(own, scheme));
    }
  }
});

simulation("levels, outliers, sinks and rotation", () => {
  const extent = { position: 2, rows: 8, length: 16 };
  const given = some(128);
  const after = (scheme: KvScheme) => {
    const values = given.slice();
    quantise(values, extent, checkScheme(scheme, "scheme"));
    return values;
  };
  const error = (values: Float32Array) =>
    values.reduce((sum, x, i) => sum + (x - given[i]!) ** 2, 0);
  // Evenly spaced levels are those that there are without.
  const even = Array.from({ length: 8 }, (_, i) => -1 + 2 * i / 7);
  const [plain, listed] = [
    after({ bits: 3, scale: "f32" }),
    after({ bits: 3, scale: "f32", levels: even }),
  ];
  assert.ok(plain.every((x, i) => Math.abs(x - listed[i]!) < 1e-5));
  const fitted = kvLevels([{ values: given, length: 16 }], { bits: 3, scale: "f32" });
  assert.is(fitted.length, 8);
  assert.equal(fitted, [...fitted].sort((a, b) => a - b));
  assert.ok(error(after({ bits: 3, scale: "f32", levels: fitted })) < error(plain));
  // A tenth of 128 values stays, and the others have a smaller range.
  const without = after({ bits: 2, outliers: 0.1 });
  const kept = without.filter((x, i) => x === given[i]).length;
  assert.ok(kept >= 13 && kept < 40, `${kept}`);
  assert.ok(error(without) < error(after({ bits: 2 })));
  // Positions 2, 3 and 4 are among the first five.
  const sinks = after({ bits: 1, sinks: 5 });
  assert.equal(sinks.slice(0, 48), given.slice(0, 48));
  assert.not.equal(sinks.slice(48, 64), given.slice(48, 64));
  // With enough bits a rotation and its way back leave everything where it was.
  const rotated = after({ bits: 8, rotate: true, scale: "f32" });
  assert.ok(rotated.every((x, i) => Math.abs(x - given[i]!) < 0.1));
  assert.not.equal(rotated, after({ bits: 8, scale: "f32" }));
});

simulation("bits of a value with scales, minima and outliers", () => {
  const bits = (scheme: KvScheme) => schemeBits(checkScheme(scheme, "scheme"));
  assert.is(bits({ bits: 4, group: 32, symmetric: true }), 4.5);
  assert.is(bits({ bits: 2, group: 32 }), 3);
  assert.is(bits({ bits: 3, group: 64, scale: "f32" }), 4);
  assert.is(bits({ bits: 3, group: 64, outliers: 0.01 }), 3.5 + 0.32);
});

simulation("keys before their rotation, functions, and rules by head", async () => {
  using model = await load();
  using plain = model.session(full);
  await plain.prefill(tokens);
  const read = (session: typeof plain, which: "key" | "value", head: number) =>
    session.kv.read({ which, layer: 0, head });
  using session = model.session(full);
  const seen: object[] = [];
  using _simulation = session.simulateKv({
    key: { bits: 8, beforeRope: true },
    rules: [
      { heads: 1, which: "key", format: "bf16" },
      {
        layers: 0,
        heads: 0,
        which: "value",
        format: (values, block) => {
          seen.push(block);
          return values.map(() => 0.5);
        },
      },
    ],
  });
  await session.prefill(tokens.slice(0, 60));
  await session.prefill(tokens.slice(60));
  const place = { which: "value", layer: 0, head: 0, length: 32 };
  assert.equal(seen, [{ ...place, position: 0, rows: 60 }, { ...place, position: 60, rows: 40 }]);
  assert.ok(read(session, "value", 0).every((x) => x === 0.5));
  assert.equal(read(session, "value", 1), read(plain, "value", 1));
  const expected = plain.kv.read({ which: "key", layer: 0, head: 0, view: "unrotated" });
  const unrotated = session.kv.read({ which: "key", layer: 0, head: 0, view: "unrotated" });
  for (let row = 0; row < 100; row++) {
    const own = Array.from(expected.slice(row * 32, row * 32 + 32));
    const step = (Math.max(...own) - Math.min(...own)) / 255;
    for (let i = 0; i < 32; i++) {
      assert.ok(Math.abs(unrotated[row * 32 + i]! - own[i]!) < step);
    }
  }
  assert.not.equal(unrotated, expected);
});

simulation("a comparison measures simulated caches beside real ones", async () => {
  using model = await load();
  const { candidates: [real, same, none, narrow] } = await compareKv(model, tokens, {
    candidates: [
      { key: "f8_e5m2", value: "f8_e5m2" },
      { simulate: { key: "f8_e5m2", value: "f8_e5m2" } },
      { simulate: {} },
      { simulate: { key: { bits: 2 }, value: { bits: 2 } } },
    ],
    context: 64,
    speedTokens: 1,
  });
  assert.equal([same!.key, same!.bitsPerValue, same!.bytes], ["simulated", 8, real!.bytes]);
  assert.ok(Number.isNaN(same!.tokensPerSecond) && real!.tokensPerSecond > 0);
  assert.ok(Math.abs(same!.kl.mean - real!.kl.mean) < 0.05 * real!.kl.mean);
  assert.equal([none!.kl.max, none!.bitsPerValue], [0, 32]);
  assert.is(narrow!.bitsPerValue, 3);
  assert.ok(narrow!.kl.mean > real!.kl.mean);
  assert.equal(narrow!.policy, { key: { bits: 2 }, value: { bits: 2 } });
});

simulation("what can't be simulated is refused with the reason", async () => {
  using model = await load();
  using session = model.session(full);
  const refused = (given: unknown, message: RegExp) =>
    assert.throws(() => session.simulateKv(given as KvSimulation), message);
  refused(
    { key: { bits: 9 } },
    /simulation\.key\.bits to be a whole number from 1 to 8, but found 9/,
  );
  refused({ key: { bits: 1, symmetric: true } }, /from 2 to 8, but found 1/);
  refused({ key: {} }, /simulation\.key\.bits to be a number/);
  refused({ value: { bits: 2, axes: "token" } }, /option of simulation\.value.*"axes"/);
  refused({ value: { bits: 2, axis: "head" } }, /axis to be one of token, channel/);
  refused({ value: { bits: 2, group: 0 } }, /group to be a whole number from 1/);
  refused({ value: { bits: 2, levels: [0, 2] } }, /levels to be from -1 to 1, but found 2/);
  refused({ value: { bits: 1, levels: [0, 1, -1] } }, /up to 2 numbers, but found an array of 3/);
  refused({ value: { bits: 2, outliers: 0.6 } }, /outliers to be from 0 to 0\.5/);
  refused({ value: { bits: 2, beforeRope: true } }, /keys to quantise before their rotation/);
  refused(
    { rules: [{ layers: 2, format: "f16" }] },
    /rules\[0\]\.layers.*from 0 to 1, but found 2/,
  );
  refused({ key: "q9" }, /simulation\.key to be one of f32/);
  refused({ shape: { layers: 3, heads: 2 } }, /a model of 2 layers/);
  assert.throws(() => kvLevels([], { bits: 2 }), /samples of values/);
  const part = [{ values: new Float32Array(10), length: 3 }];
  assert.throws(() => kvLevels(part, { bits: 2 }), /samples\[0\]\.values.*rows of 3.*of 10/);
  using _wrong = session.simulateKv({ key: () => new Float32Array(3) });
  try {
    await session.prefill(tokens);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /layer 0 to return 3200 values, but found 3 values/);
  }
});

simulation.run();
