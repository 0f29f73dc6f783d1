/** The search for a cache policy. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compareKv, type KvFormat, type KvSearch, loadModel, searchKv } from "../mod.ts";
import { kvBits } from "../src/internal/kv_layout.ts";
import { narrowing, policyOf, unitsOf } from "../src/internal/kv_path.ts";
import { tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1, precision: "float" });
const tokens = Array.from({ length: 100 }, (_, i) => 3 + (i * 37) % 256);

const search = suite("searching for a cache policy");

search("the way gives up what costs least for its bits first", () => {
  const units = unitsOf(2);
  const kls: Record<string, number[]> = { q8_0: [1, 2, 8, 4], f8_e5m2: [9, 3, 9, 5] };
  const costs = Object.entries(kls).flatMap(([format, list]) =>
    units.map((unit, i) => ({ ...unit, format: format as KvFormat, kl: list[i] as number }))
  );
  const path = narrowing(units, "f16", 0, costs, (_, format) => kvBits(format, 32));
  const bits = path.map((formats) => formats.reduce((sum, format) => sum + kvBits(format, 32), 0));
  assert.ok(bits.every((sum, i) => i === 0 || sum < bits[i - 1]!));
  assert.equal(path[0], ["f16", "f16", "f16", "f16"]);
  // 1 / 7.5 bits; 2 / 7.5; 4 / 7.5; 5 / 8 is less than 8 / 7.5 and 1 / 0.5 …
  assert.equal(path[1], ["q8_0", "f16", "f16", "f16"]);
  assert.equal(path[2], ["q8_0", "q8_0", "f16", "f16"]);
  assert.equal(path[3], ["q8_0", "q8_0", "f16", "q8_0"]);
  assert.equal(path[4], ["q8_0", "q8_0", "q8_0", "q8_0"]);
  assert.equal(path.at(-1), ["f8_e5m2", "f8_e5m2", "f8_e5m2", "f8_e5m2"]);
  assert.is(path.length, 9);
});

search("a policy has few rules", () => {
  const units = unitsOf(3);
  const shape = { layers: 3, heads: 2 };
  const formats: KvFormat[] = ["q8_0", "f16", "q8_0", "q8_0", "f32", "f16"];
  assert.equal(policyOf(units, formats, shape), {
    key: "q8_0",
    value: "f16",
    rules: [
      { layers: [1], which: "value", format: "q8_0" },
      { layers: [2], which: "key", format: "f32" },
    ],
    shape,
  });
  assert.equal(policyOf(units, units.map(() => "bf16"), shape), {
    key: "bf16",
    value: "bf16",
    shape,
  });
});

const formats: KvFormat[] = ["q8_0", "f32", "f8_e5m2"];

function expectSound(found: KvSearch): void {
  const { best, frontier, points, sensitivity } = found;
  assert.is(sensitivity.length, 2 * 2 * 2);
  assert.ok(points.includes(best));
  for (const [i, point] of frontier.entries()) {
    assert.ok(points.includes(point));
    const next = frontier[i + 1];
    if (next) assert.ok(next.bytes < point.bytes && next.kl > point.kl);
    assert.not.ok(points.some((other) => other.bytes <= point.bytes && other.kl < point.kl));
  }
  assert.is(frontier[0]!.kl, 0);
}

search("a budget of KL gets the smallest cache within it", async () => {
  using model = await load();
  let last = { done: 0, total: 0 };
  const onProgress = (progress: typeof last) => {
    assert.ok(progress.done > last.done);
    last = progress;
  };
  const widths = await searchKv(model, tokens, { budget: { bytes: 1e9 }, formats });
  const limit = widths.points.find(({ policy }) => policy.key === "q8_0")!.kl;
  const found = await searchKv(model, tokens, {
    budget: { kl: 1.001 * limit },
    formats,
    onProgress,
  });
  expectSound(found);
  assert.is(last.done, last.total);
  assert.ok(found.best.kl <= 1.001 * limit && found.best.bitsPerValue <= 8.5);
  for (const point of found.points) {
    assert.ok(point.bytes >= found.best.bytes || point.kl > 1.001 * limit);
  }
  // It is what a comparison finds, and what a session takes.
  const { candidates } = await compareKv(model, tokens, { candidates: [found.best.policy] });
  assert.is(candidates[0]!.kl.mean, found.best.kl);
  using session = model.session({ context: 100, kv: found.best.policy });
  assert.is(session.kv.bytes, found.best.bytes);
});

search("a budget of bytes gets the nearest cache within it", async () => {
  using model = await load();
  // 128 positions (whole pages) of 2 layers × 2 heads × 2 × 32 values.
  const all = 128 * 2 * 2 * 2 * 32;
  const found = await searchKv(model, tokens, { budget: { bytes: 2 * all }, formats });
  expectSound(found);
  assert.ok(found.best.bytes <= 2 * all && found.best.bytes > all);
  for (const point of found.points) {
    assert.ok(point.kl >= found.best.kl || point.bytes > 2 * all);
  }
});

search("what can't be met is refused with what could be", async () => {
  using model = await load();
  const refused = async (options: object, message: RegExp) => {
    try {
      await searchKv(model, tokens, options as { budget: { kl: number } });
    } catch (error) {
      return assert.match((error as Error).message, message);
    }
    assert.unreachable(`expected an error like ${message}`);
  };
  await refused(
    { budget: { bytes: 1 }, formats },
    /budget of \d+ \(f8_e5m2\) or more for bytes, but/,
  );
  await refused({ budget: { kl: 1e-30 }, formats: ["f16", "q8_0"] }, /\(f16\) or more for kl, but/);
  await refused({}, /options of searchKv \(budget\)/);
  await refused({ budget: {} }, /kl or bytes, but found neither/);
  await refused({ budget: { kl: 1, bytes: 1 } }, /but found both/);
  await refused({ budget: { kl: 0 } }, /budget\.kl to be more than 0/);
  await refused({ budget: { kl: 1 }, formats: ["f16"] }, /two widths, but found f16/);
  await refused({ budget: { kl: 1 }, formats: ["f16", "bf16"] }, /two widths/);
  await refused({ budget: { kl: 1 }, formats: ["f16", "q9"] }, /formats to be an array of.*"q9"/);
  await refused({ budget: { kl: 1 }, signal: AbortSignal.abort() }, /abort/i);
});

search.run();
