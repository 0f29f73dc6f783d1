/** Reading the KV cache: decoded, before the rotation, as stored; and what can't be read. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { estimate, kvFormats, type KvRaw, loadModel, readSnapshot } from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1 });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** What the codes of each format mean, written down a second time. */
const decoders: Readonly<
  Record<(typeof kvFormats)[number], (code: number, scale: number, minimum: number) => number>
> = {
  f32: (code) => code,
  f16: f16,
  bf16: (code) => new Float32Array(Uint32Array.of(code << 16).buffer)[0]!,
  q8_0: (code, scale) => code * scale,
  int8: (code, scale) => code * scale,
  f8_e4m3: (code) => small(code, 4, 3),
  f8_e5m2: (code) => small(code, 5, 2),
  q5_1: (code, scale, minimum) => Math.fround(code * scale) + minimum,
  q5_0: (code, scale) => (code - 16) * scale,
  q4_1: (code, scale, minimum) => Math.fround(code * scale) + minimum,
  q4_0: (code, scale) => (code - 8) * scale,
  iq4_nl: (code, scale) => levels[code]! * scale,
  nvfp4: (code, scale) => small(code, 2, 1) * scale,
  mxfp4: (code, scale) => small(code, 2, 1) * scale,
};

const scaleDecoders: Partial<Record<(typeof kvFormats)[number], (scale: number) => number>> = {
  nvfp4: (scale) => small(scale, 4, 3),
  mxfp4: (scale) => 2 ** (scale - 127),
};

function f16(bits: number): number {
  return small(bits >> 8 & 0x80 | 0, 5, 10, bits);
}

/** A float with a sign, `exponents` bits of exponent and `fractions` bits of fraction. */
function small(code: number, exponents: number, fractions: number, bits = code): number {
  const sign = bits >> exponents + fractions & 1 ? -1 : 1;
  const exponent = bits >> fractions & (1 << exponents) - 1;
  const fraction = bits & (1 << fractions) - 1;
  const bias = (1 << exponents - 1) - 1;
  const scale = 2 ** (Math.max(exponent, 1) - bias - fractions);
  return sign * (exponent === 0 ? fraction : fraction + (1 << fractions)) * scale;
}

function decodedOf(
  format: (typeof kvFormats)[number],
  { codes, scales, minimums }: KvRaw,
): Float32Array {
  // Heads have 32 values: one scale a head is as many. Some have two.
  const shared = codes.length / scales.length;
  const scaleOf = scaleDecoders[format] ?? f16;
  return Float32Array.from(codes, (code, i) => {
    const scale = scales.length === 0 ? 1 : scaleOf(scales[Math.floor(i / shared)]!);
    const minimum = minimums.length === 0 ? 0 : f16(minimums[Math.floor(i / 32)]!);
    return decoders[format](code, scale, minimum);
  });
}

const kv = suite("reading the KV cache");

for (const format of kvFormats) {
  kv(`${format}: what is stored decodes to what is read`, async () => {
    using model = await load();
    using session = model.session({ kv: { key: format, value: format } });
    await session.prefill(tokens);
    for (const which of ["key", "value"] as const) {
      const whole = session.kv.read({ which, layer: 1 });
      assert.is(whole.length, 2 * 100 * 32);
      assert.ok(whole.some((value) => Math.abs(value) > 0.01));
      assert.equal(decodedOf(format, session.kv.read({ which, layer: 1, view: "raw" })), whole);
      const part = session.kv.read({ which, layer: 1, head: 1, from: 60, to: 70 });
      assert.equal(part, whole.slice((100 + 60) * 32, (100 + 70) * 32));
    }
  });
}

kv("int8 has one scale for a head, in the cache, simulated, estimated and saved", async () => {
  const wide = tinyModel({ embedding: 256 });
  using model = await loadModel(wide, { threads: 1, precision: "float" });
  const policy = { key: "int8", value: "int8" } as const;
  using session = model.session({ context: 128, kv: policy });
  await session.prefill(tokens);
  using simulated = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
  using _simulation = simulated.simulateKv(policy);
  await simulated.prefill(tokens);
  const file = temporaryPath("int8.session");
  await session.save(file);
  using snapshot = readSnapshot(file);
  for (const which of ["key", "value"] as const) {
    const place = { which, layer: 0 };
    const { codes, scales, minimums } = session.kv.read({ ...place, view: "raw" });
    assert.equal([codes.length, scales.length, minimums.length], [2 * 100 * 64, 2 * 100, 0]);
    for (const [row, scale] of scales.entries()) {
      const own = Array.from(codes.subarray(row * 64, row * 64 + 64), Math.abs);
      assert.ok(scale > 0 && Math.max(...own) === 127);
    }
    const whole = session.kv.read(place);
    assert.equal(Float32Array.from(codes, (code, i) => code * f16(scales[i >> 6]!)), whole);
    assert.equal(simulated.kv.read(place), whole);
    assert.equal(snapshot.read(place), whole);
    assert.equal(snapshot.read({ ...place, view: "raw" }).scales, scales);
  }
  const ledger = session.kv.ledger();
  assert.equal([ledger.keyBits, ledger.valueBits], [8.25, 8.25]);
  assert.is(ledger.keyScales, 2 * 2 * 100 * 2);
  const expected = await estimate(wide, { context: 128, kv: policy });
  assert.equal([expected.kvBytes, expected.keyBits], [session.kv.bytes, 8.25]);
});

kv("keys before their rotation are those of position 0", async () => {
  using model = await load();
  using session = model.session({ kv: { key: "f32" } });
  await session.prefill(Array.from({ length: 80 }, () => 9));
  const rotated = session.kv.read({ which: "key", layer: 0, head: 0 });
  const before = session.kv.read({ which: "key", layer: 0, head: 0, view: "unrotated" });
  const moved = (keys: Float32Array) =>
    Math.max(...keys.map((key, i) => Math.abs(key - keys[i % 32]!)));
  assert.ok(moved(rotated) > 0.01);
  assert.ok(moved(before) < 1e-5);
  assert.equal(before.slice(0, 32), rotated.slice(0, 32));
});

kv("a token that was only sampled has no keys yet", async () => {
  using model = await load();
  using session = model.session();
  await session.prefill(tokens);
  await session.step();
  assert.is(session.position, 101);
  assert.is(session.kv.read({ which: "key", layer: 0, head: 0 }).length, 100 * 32);
});

kv("what isn't there is refused with the reason", async () => {
  using model = await load();
  const session = model.session();
  assert.is(session.kv.read({ which: "key", layer: 0 }).length, 0);
  await session.prefill(tokens);
  const refused = (part: object, message: RegExp) =>
    assert.throws(() => session.kv.read(part as { which: "key"; layer: number }), message);
  refused({ which: "key", layer: 2 }, /layer to be a whole number from 0 to 1, but found 2/);
  refused({ which: "key", layer: -1 }, /layer/);
  refused({ which: "key" }, /layer to be a number/);
  refused({ layer: 0 }, /which to be key or value/);
  refused({ which: "keys", layer: 0 }, /which/);
  refused({ which: "key", layer: 0, head: 2 }, /head to be a whole number from 0 to 1/);
  refused({ which: "key", layer: 0, to: 101 }, /to to be a whole number from 0 to 100/);
  refused({ which: "key", layer: 0, from: 9, to: 8 }, /from to be a whole number from 0 to 8/);
  refused({ which: "key", layer: 0, view: "codes" }, /view/);
  refused({ which: "key", layer: 0, sequence: 0 }, /option of read/);
  refused({ which: "value", layer: 0, view: "unrotated" }, /keys to take the rotation from/);
  const running = session.generate("", { maxTokens: 50, ignoreEnd: true });
  await running.next();
  refused({ which: "key", layer: 0 }, /idle session/);
  for await (const _ of running);
  session.dispose();
  refused({ which: "key", layer: 0 }, /disposed/);
});

kv.run();
