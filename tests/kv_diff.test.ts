/** Differences between caches: against what was computed, between precisions, runs and runtimes. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runtimes } from "../bench/engine.ts";
import {
  diffKv,
  type KvDiff,
  kvFormats,
  type KvPolicy,
  loadModel,
  type Model,
  readSnapshot,
  type Session,
  slidingWindow,
} from "../mod.ts";
import { KvDiffTable } from "../src/internal/kv_difference.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1, precision: "float" });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);
const rowsOf = ({ layer }: KvDiff) => [...layer.keys()];

const diffs = suite("differences between caches");

async function sessionOf(model: Model, kv: KvPolicy, read = tokens): Promise<Session> {
  const session = model.session({ context: 160, kv });
  await session.prefill(read);
  return session;
}

diffs("a row that one can add up by hand", () => {
  const of = (expected: number[], found: number[]) => {
    const table = new KvDiffTable(1);
    const pair = { expected: Float32Array.from(expected), found: Float32Array.from(found) };
    table.put({ layer: 3, head: 2, which: "value", length: 2, ...pair }, Uint32Array.of(10, 11));
    const { columns } = table;
    assert.equal([columns.layer[0], columns.head[0], columns.which[0]], [3, 2, 1]);
    return Object.fromEntries(
      Object.entries(columns).slice(3).map(([name, column]) => [name, column[0]]),
    );
  };
  assert.equal(of([3, 0, 0, 4], [3, 0, 1, 2]), {
    maxError: 2,
    meanSquare: 5 / 4,
    relative: Math.sqrt(5 / 25),
    cosine: 17 / Math.sqrt(25 * 14),
    worst: 11,
    equal: 0,
  });
  const same = { maxError: 0, meanSquare: 0, relative: 0, worst: 10, equal: 1 };
  assert.equal(of([1, 2, 3, 4], [1, 2, 3, 4]), { ...same, cosine: 1 });
  assert.equal(of([0, 0], [0, 0]), { ...same, cosine: 1 });
  // Two zeros are as good as equal, and have other bits.
  assert.equal(of([0, 1], [-0, 1]), { ...same, cosine: 1, equal: 0 });
  assert.is(of([0, 0], [1, 0])["relative"], Infinity);
  const broken = of([1, 2, 3, 4], [1, 2, NaN, 4]);
  assert.equal(
    [broken["maxError"], broken["relative"], broken["worst"], broken["equal"]],
    [Infinity, Infinity, 11, 0],
  );
});

diffs("precision against precision, by the definitions", async () => {
  using model = await load();
  using wide = await sessionOf(model, { key: "f32", value: "f32" });
  using narrow = await sessionOf(model, { key: "q8_0", value: "f8_e4m3" });
  const diff = diffKv(wide, narrow);
  assert.equal([diff.positions[0], diff.positions.at(-1), diff.sameTokens], [0, 99, 100]);
  assert.equal([...diff.layer], [0, 0, 0, 0, 1, 1, 1, 1]);
  assert.equal([...diff.which], [0, 0, 1, 1, 0, 0, 1, 1]);
  assert.equal([...diff.head], [0, 1, 0, 1, 0, 1, 0, 1]);
  for (const row of rowsOf(diff)) {
    const which = diff.which[row] === 0 ? "key" : "value";
    const part = { which, layer: diff.layer[row]!, head: diff.head[row]! } as const;
    const [a, b] = [wide.kv.read(part), narrow.kv.read(part)];
    const errors = Array.from(a, (x, i) => Math.abs(x - b[i]!));
    const [square, size] = [errors, Array.from(a)].map((list) =>
      list.reduce((sum, x) => sum + x * x, 0)
    ) as [number, number];
    const most = Math.max(...errors);
    assert.is(diff.maxError[row], most);
    assert.is(diff.worst[row], Math.floor(errors.indexOf(most) / 32));
    assert.ok(Math.abs(diff.meanSquare[row]! - square / a.length) < 1e-15);
    assert.ok(Math.abs(diff.relative[row]! - Math.sqrt(square / size)) < 1e-12);
    assert.ok(diff.cosine[row]! > 0.99 && diff.cosine[row]! < 1);
    assert.is(diff.equal[row], 0);
  }
  const part = diffKv(wide, narrow, { which: "value", layers: [1], heads: [1], from: 7, to: 9 });
  assert.equal([[...part.positions], part.layer.length], [[7, 8], 1]);
  const [a, b] = [wide, narrow].map(({ kv }) =>
    kv.read({ which: "value", layer: 1, head: 1, from: 7, to: 9 })
  ) as [Float32Array, Float32Array];
  assert.is(part.maxError[0], Math.max(...a.map((x, i) => Math.abs(x - b[i]!))));
});

diffs("files, without the engine, and sessions are the same to it", async () => {
  using model = await load();
  using wide = await sessionOf(model, { key: "f32" });
  using narrow = await sessionOf(model, { key: "q4_0" });
  using branch = narrow.fork();
  await branch.prefill([7, 8]);
  const files = [temporaryPath("wide.session"), temporaryPath("narrow.session")] as const;
  await wide.save(files[0]);
  await narrow.save(files[1], { with: [branch] });
  const live = diffKv(wide, narrow);
  assert.equal(diffKv(files[0], files[1]), live);
  assert.equal(diffKv(wide, files[1]), live);
  using snapshot = readSnapshot(files[1]);
  assert.equal(diffKv(files[0], snapshot), live);
  // It was not closed.
  assert.is(snapshot.read({ which: "key", layer: 0 }).length, 2 * 100 * 32);
  const other = diffKv(snapshot, snapshot, { sequences: [0, 1] });
  assert.equal([other.positions.length, other.sameTokens], [100, 100]);
  assert.ok(other.equal.every((equal) => equal === 1));
});

diffs("run against run: texts part, and so do their caches", async () => {
  using model = await load();
  using first = await sessionOf(model, {});
  using second = await sessionOf(model, {}, tokens.with(60, 5));
  const diff = diffKv(first, second);
  assert.is(diff.sameTokens, 60);
  // The first layer sees single tokens, the next one all before them.
  for (const row of rowsOf(diff)) {
    assert.is(diff.equal[row], 0);
    if (diff.layer[row] === 0) assert.is(diff.worst[row], 60);
    else assert.ok(diff.worst[row]! >= 60);
  }
  assert.ok(diffKv(first, second, { to: 60 }).equal.every((equal) => equal === 1));
});

diffs("runtime against runtime, and threads: the same file", () => {
  const script = fileURLToPath(new URL("./support/saved.ts", import.meta.url));
  const own = "Deno" in globalThis ? "Deno" : "Bun";
  const args = own === "Deno" ? ["run", "--quiet", "--allow-all"] : ["run"];
  const all = [
    { name: own, program: process.execPath, args },
    ...runtimes().filter(({ name }) => name !== own),
  ];
  if (all.length < 2) {
    process.stdout.write(`skipped: expected another runtime beside ${own}, but found none\n`);
  }
  const files = all.map(({ name, program, args }, i) => {
    const file = temporaryPath(`${name}.session`);
    const run = spawnSync(program, [...args, script, path, file, String(1 + i)], {
      encoding: "utf8",
    });
    assert.is(run.status, 0, `${name}: ${run.stderr}`);
    return file;
  });
  const [first, last] = [files[0] as string, files.at(-1) as string];
  const diff = diffKv(first, last);
  assert.equal([diff.positions.length, diff.sameTokens], [129, 130]);
  assert.ok(diff.equal.every((equal) => equal === 1));
  assert.equal(readFileSync(first), readFileSync(last));
});

for (const format of kvFormats) {
  diffs(`${format}: errors against what was computed are the rounding of the format`, async () => {
    using model = await load();
    const kv = { key: format, value: "f32" } as const;
    using session = model.session({ context: 128, chunk: 48, kv });
    using recording = session.record(["blocks.*.k", "blocks.1.v", "embed"]);
    await session.prefill(tokens);
    const errors = session.kv.errors(recording);
    assert.equal([...errors.layer], [0, 0, 1, 1, 1, 1]);
    assert.equal([...errors.which], [0, 0, 0, 0, 1, 1]);
    assert.equal([...errors.positions], [...tokens.keys()]);
    const computed = recording.get("blocks.1.k").values;
    const stored = session.kv.read({ which: "key", layer: 1, head: 1 });
    const most = Math.max(
      ...stored.map((x, i) => Math.abs(x - computed[(i >> 5) * 64 + 32 + i % 32]!)),
    );
    assert.is(errors.maxError[3], most);
    // Values are kept as they are; keys lose what the format has no bits for.
    assert.equal([...errors.equal.slice(4)], [1, 1]);
    const [least, worst] = bounds[format];
    for (const row of [0, 1, 2, 3]) {
      const error = errors.relative[row]!;
      assert.ok(error >= least && error <= worst, `${error}`);
    }
  });
}

/** Relative errors that formats have of numbers like these: from the step of a mantissa or of a block's scale. */
const bounds: Readonly<Record<(typeof kvFormats)[number], readonly [least: number, most: number]>> =
  {
    f32: [0, 0],
    f16: [2 ** -14, 2 ** -11],
    bf16: [2 ** -11, 2 ** -8],
    q8_0: [2 ** -10, 2 ** -7],
    int8: [2 ** -10, 2 ** -7],
    f8_e4m3: [2 ** -7, 2 ** -4],
    f8_e5m2: [2 ** -6, 2 ** -3],
    q5_1: [2 ** -7, 2 ** -4],
    q5_0: [2 ** -7, 2 ** -4],
    q4_1: [2 ** -6, 2 ** -3],
    q4_0: [2 ** -6, 2 ** -3],
    iq4_nl: [2 ** -6, 2 ** -3],
    nvfp4: [2 ** -6, 2 ** -2],
    mxfp4: [2 ** -6, 2 ** -2],
  };

diffs("a cache that evicts is compared where it still has something", async () => {
  using model = await load();
  const kv = { key: "q8_0", value: "f32" } as const;
  using whole = model.session({ context: 160, kv: { key: "f32", value: "f32" } });
  using short = model.session({
    context: 160,
    kv,
    evict: slidingWindow({ sinks: 4, recent: 40, positions: "text" }),
  });
  using recording = short.record(["blocks.*.k", "blocks.*.v"]);
  await whole.prefill(tokens);
  await short.prefill(tokens);
  const kept = short.kv.textPositions;
  assert.ok(kept.length < 100 && kept.length >= 44, `${kept.length}`);
  const diff = diffKv(whole, short);
  assert.equal(diff.positions, kept);
  // What goes into the first layer depends on no cache: it is the rounding alone.
  for (const row of rowsOf(diff).filter((row) => diff.layer[row] === 0)) {
    assert.ok(kept.includes(diff.worst[row]!));
    assert.ok(diff.relative[row]! < 2 ** -7);
    assert.is(diff.equal[row], diff.which[row]);
  }
  // Recordings count places in the cache.
  assert.throws(
    () => short.kv.errors(recording),
    /evicted no tokens.*found one that holds \d+ of 100/,
  );
});

diffs("what can't be compared is refused with the reason", async () => {
  using model = await load();
  using session = await sessionOf(model, {});
  const refused = (a: unknown, b: unknown, options: object, message: RegExp) =>
    assert.throws(() => diffKv(a as Session, b as Session, options), message);
  using deep = await loadModel(tinyModel({ embedding: 128, layers: 3 }), { threads: 1 });
  using other = await sessionOf(deep, {});
  refused(session, other, {}, /one shape, but found 2 layers of 2 .* and 3 layers of 2/);
  using empty = model.session();
  refused(session, empty, {}, /positions that both caches have, but found none of the 100 and 0/);
  refused(
    session,
    session,
    { layers: [2] },
    /layers to be a whole number from 0 to 1, but found 2/,
  );
  refused(session, session, { layers: 1 }, /layers to be an array of numbers, but found 1/);
  refused(session, session, { heads: [] }, /heads to be an array/);
  refused(session, session, { to: 101 }, /to to be a whole number from 1 to 100/);
  refused(session, session, { from: 100 }, /from to be a whole number from 0 to 99/);
  refused(session, session, { which: "keys" }, /which to be one of key, value/);
  refused(session, session, { layer: 1 }, /option of diffKv/);
  refused(session, session, { sequences: [0, 1] }, /sequence 0 of a session.*but found 1/);
  refused(7, session, {}, /expected to be a session, a snapshot or the path of one, but found 7/);
  refused("no.session", session, {}, /no\.session: Expected a saved session, but found no file/);
  refused(session, path, {}, /Expected a saved session, but found another kind of file/);

  using recording = session.record(["blocks.0.k", "blocks.1.q"]);
  const errors = (given: unknown) => () => session.kv.errors(given as typeof recording);
  assert.throws(errors(recording), /blocks\.0\.k began, but found none/);
  assert.throws(errors(7), /recording of blocks\.N\.k or blocks\.N\.v, but found 7/);
  using queries = session.record(["blocks.1.q"]);
  assert.throws(errors(queries), /but found one of blocks\.1\.q/);
  await session.prefill([5, 6]);
  assert.equal([...session.kv.errors(recording).positions], [100, 101]);
  session.truncate(101);
  assert.equal([...session.kv.errors(recording).positions], [100]);
  session.truncate(100);
  assert.throws(errors(recording), /positions that are in the cache, but found 2 from 100 on/);
  const gone = model.session();
  gone.dispose();
  refused(session, gone, {}, /Expected a session that is still open/);
  assert.throws(() => gone.kv.errors(recording), /still open/);
});

diffs.run();
