/** Attention rows: what queries look at in the cache, against what the heads found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Activation, attentionStatistics, type KvFormat, loadModel } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, four heads and two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 2, precision: "float" });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const attention = suite("attention rows");

for (const format of ["f32", "f16", "f8_e4m3"] satisfies KvFormat[]) {
  attention(`${format}: weights times values are what the heads found`, async () => {
    using model = await load();
    using session = model.session({ context: 128, chunk: 48, kv: { key: format, value: format } });
    using recording = session.record(["blocks.1.q", "blocks.1.z"]);
    await session.prefill(tokens);
    const rows = session.kv.attention(recording.get("blocks.1.q"));
    const { heads, kvHeads, valueLength } = model.info;
    assert.equal(
      [rows.layer, rows.position, rows.rows, rows.head, rows.heads, rows.positions],
      [1, 0, 100, 0, heads, 100],
    );
    const z = recording.get("blocks.1.z").values;
    const values = session.kv.read({ which: "value", layer: 1 });
    let largest = 0;
    for (let row = 0; row < 100; row++) {
      for (let head = 0; head < heads; head++) {
        const own = rows.weights.subarray(
          (row * heads + head) * 100,
          (row * heads + head + 1) * 100,
        );
        assert.ok(own.slice(row + 1).every((weight) => weight === 0));
        const kvHead = Math.floor(head / (heads / kvHeads));
        for (let i = 0; i < valueLength; i++) {
          const sum = own.reduce(
            (all, weight, p) => all + weight * values[(kvHead * 100 + p) * valueLength + i]!,
            0,
          );
          const wanted = z[(row * heads + head) * valueLength + i]!;
          largest = Math.max(largest, Math.abs(sum - wanted));
        }
      }
    }
    assert.ok(largest < 1e-5, `${largest}`);
  });
}

attention("a head and a range of queries are parts of the whole", async () => {
  using model = await load();
  using session = model.session({ context: 128 });
  using recording = session.record(["blocks.0.q"]);
  await session.prefill(tokens);
  const queries = recording.get("blocks.0.q");
  const whole = session.kv.attention(queries);
  const part = session.kv.attention(queries, { head: 2, from: 90, to: 95 });
  assert.equal(
    [part.position, part.rows, part.head, part.heads, part.positions],
    [90, 5, 2, 1, 95],
  );
  for (let row = 0; row < 5; row++) {
    const at = ((90 + row) * whole.heads + 2) * whole.positions;
    assert.equal(part.weights.slice(row * 95, (row + 1) * 95), whole.weights.slice(at, at + 95));
  }
});

attention("statistics of rows that one can add up by hand", () => {
  const [half, rest] = [0.5, 0.25];
  const statistics = attentionStatistics({
    ...{ layer: 0, position: 1, rows: 2, head: 0, heads: 1, positions: 3 },
    weights: Float32Array.of(half, half, 0, half, rest, rest),
  }, { sinks: 1 });
  assert.equal(statistics.entropy, Float64Array.of(Math.log(2), 1.5 * Math.log(2)));
  assert.equal(statistics.sinkMass, Float64Array.of(0.5, 0.5));
  assert.equal(statistics.distance, Float64Array.of(0.375, 0.375, 0.5));
  assert.equal(statistics.received, Float64Array.of(1, 0.75, 0.25));
});

attention("what cannot be is refused", async () => {
  using model = await load();
  using session = model.session({ context: 128 });
  using recording = session.record(["blocks.0.q", "blocks.0.k"]);
  await session.prefill(tokens);
  const queries = recording.get("blocks.0.q");
  const of = (change: Partial<Activation>, options = {}) => () =>
    session.kv.attention({ ...queries, ...change }, options);
  assert.throws(() => session.kv.attention(recording.get("blocks.0.k")), /blocks\.N\.q shows them/);
  assert.throws(of({ values: queries.values.slice(1) }), /100 queries of 4 heads of 32 values/);
  assert.throws(of({ layer: 7 }), /layer under 2, found 7/);
  assert.throws(of({ position: 50 }), /positions under 100, .* found 100 of them from 50 on/);
  assert.throws(of({}, { head: 4 }), /head .* from 0 to 3/);
  assert.throws(of({}, { to: 101 }), /to .* 100/);
  assert.throws(of({}, { heads: 1 }), /heads/);
  assert.throws(
    () => attentionStatistics(queries as never),
    /attention as KvCache.attention returns/,
  );
  session.truncate(60);
  assert.throws(of({}), /positions under 60/);
  assert.is(session.kv.attention(queries, { to: 60 }).rows, 60);
  session.dispose();
  assert.throws(of({}), /disposed/);
});

attention.run();
