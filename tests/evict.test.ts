/** Eviction: what stays at each step, decided a second time here; what such sessions can do; what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measureStreaming } from "../bench/kv_study/streaming.ts";
import {
  type CachedTokens,
  EngineError,
  evictBy,
  type EvictPolicy,
  h2o,
  loadModel,
  type Model,
  type Session,
  slidingWindow,
  snapKv,
  temperature,
  tova,
} from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 2, precision: "float" });
const text = Array.from({ length: 400 }, (_, i) => 3 + (i * i + 5 * i) % 256);
const f32 = { key: "f32", value: "f32" } as const;

async function thrown(body: () => unknown): Promise<string> {
  try {
    await body();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    return String(error);
  }
  throw new Error("Expected an error, but found a result");
}

/** Attention of queries over the cache's tokens, by hand: its mean over layers and heads. */
function attention(model: Model, session: Session, queries: Float32Array[], rows: number) {
  const { layers, heads, kvHeads, keyLength } = model.info;
  const positions = session.kv.textPositions;
  const mean = new Float64Array(positions.length);
  for (let layer = 0; layer < layers; layer++) {
    const keys = session.kv.read({ which: "key", layer });
    const own = queries[layer]!.slice(-rows * heads * keyLength);
    for (let row = 0; row < rows; row++) {
      const sees = positions.length - rows + row + 1;
      for (let head = 0; head < heads; head++) {
        const kvHead = Math.floor(head / (heads / kvHeads));
        const scores = Array.from({ length: sees }, (_, at) => {
          let dot = 0;
          for (let i = 0; i < keyLength; i++) {
            dot += own[(row * heads + head) * keyLength + i]! *
              keys[(kvHead * positions.length + at) * keyLength + i]!;
          }
          return Math.exp(dot / Math.sqrt(keyLength));
        });
        const total = scores.reduce((sum, score) => sum + score);
        scores.forEach((score, at) => mean[at]! += score / total / layers / heads);
      }
    }
  }
  return mean;
}

/** The `count` indices of the highest scores, in their order. */
function highest(scores: ArrayLike<number>, count: number): number[] {
  return Array.from({ length: scores.length }, (_, i) => i)
    .sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, count).sort((a, b) => a - b);
}

type Choice = (scores: number[], budget: number) => number[];

const byHeavyHitters: Choice = (scores, budget) => {
  const recent = Math.floor(budget / 2);
  const older = scores.slice(0, scores.length - recent);
  const young = scores.map((_, i) => i).slice(older.length);
  return [...highest(older, budget - recent), ...young];
};
const byLastQuery: Choice = (scores, budget) => [
  ...highest(scores.slice(0, -1), budget - 1),
  scores.length - 1,
];

const evict = suite("eviction");

for (
  const [name, make, choose, sums] of [
    ["h2o", h2o, byHeavyHitters, true],
    ["tova", tova, byLastQuery, false],
  ] as const
) {
  for (const every of [1, 5]) {
    evict(`${name} keeps at each step what a second implementation keeps (${every})`, async () => {
      using model = await load();
      const [budget, count] = [24, 70];
      using session = model.session({ kv: f32, evict: make({ budget, every }) });
      using recording = session.record(["blocks.*.q"]);
      let positions: number[] = [];
      let scores = new Map<number, number>();
      let evicted = 0;
      for (let at = 0; at < count; at++) {
        if (positions.length === budget + every) {
          const kept = choose(positions.map((position) => scores.get(position)!), budget);
          positions = kept.map((i) => positions[i]!);
        }
        positions.push(at);
        await session.prefill([text[at]!]);
        evicted += session.stats.evictedTokens;
        assert.equal(Array.from(session.kv.textPositions), positions);
        assert.equal(Array.from(session.tokens), positions.map((position) => text[position]!));
        const queries = recording.names.map((name) => recording.get(name).values);
        const mean = attention(model, session, queries, 1);
        if (!sums) scores = new Map();
        positions.forEach((position, i) =>
          scores.set(position, (scores.get(position) ?? 0) + mean[i]!)
        );
      }
      assert.is(evicted, count - positions.length);
      // In one piece it is the same.
      using whole = model.session({ kv: f32, evict: make({ budget, every }) });
      await whole.prefill(text.slice(0, count));
      assert.equal(Array.from(whole.kv.textPositions), positions);
      assert.equal(whole.logits(), session.logits());
    });
  }
}

evict("snapKv cuts a prompt down to what its end looks at, and keeps the answer", async () => {
  using model = await load();
  const policy = snapKv({ budget: 40, window: 8, pooling: 5 });
  using session = model.session({ kv: f32, evict: policy });
  using recording = session.record(["blocks.*.q"]);
  await session.prefill(text.slice(0, 120));
  assert.is(session.position, 120);
  const queries = recording.names.map((name) => recording.get(name).values);
  const older = Array.from(attention(model, session, queries, 8).slice(0, 112));
  const pooled = older.map((_, i) => Math.max(...older.slice(Math.max(0, i - 2), i + 3)));
  const kept = [...highest(pooled, 32), 112, 113, 114, 115, 116, 117, 118, 119];
  await session.generate([], { maxTokens: 30, ignoreEnd: true }).text();
  assert.is(session.stats.evictedTokens, 80);
  const answer = Array.from({ length: 29 }, (_, i) => 120 + i);
  assert.equal(Array.from(session.kv.textPositions), [...kept, ...answer]);
  // The next prompt is cut down with all that is there.
  await session.prefill(text.slice(0, 50));
  await session.step();
  await session.step();
  assert.is(session.kv.textPositions.length, 41);
});

evict("a function decides by scores, positions and ages", async () => {
  using model = await load();
  const [budget, every] = [24, 4];
  const seen: CachedTokens[] = [];
  const own = evictBy((tokens) => {
    seen.push(tokens);
    return byHeavyHitters(Array.from(tokens.scores), tokens.budget);
  }, { budget, every });
  using by = model.session({ kv: f32, evict: own });
  using native = model.session({ kv: f32, evict: h2o({ budget, every }) });
  const sampler = [temperature(1.5)];
  const said = await Promise.all(
    [by, native].map((session) =>
      session.generate(text.slice(0, 50), { maxTokens: 40, seed: 5, sampler, ignoreEnd: true })
        .text()
    ),
  );
  assert.is(said[0], said[1]);
  assert.equal(by.kv.textPositions, native.kv.textPositions);
  assert.equal(by.logits(), native.logits());
  assert.is(seen.length, Math.ceil((50 + 39 - 28) / 4));
  for (const { count, positions, ages, scores } of seen) {
    assert.is(count, 28);
    assert.ok(positions.every((position, i) => position + ages[i]! === positions.at(-1)! + 1));
    assert.ok(scores.every((score) => score > 0));
  }
  // The last query's attention adds up to one; without scores there is nothing.
  for (const [scores, sum] of [["last", 1], ["none", 0]] as const) {
    const sums: number[] = [];
    const policy = evictBy(({ scores, count }) => {
      sums.push(scores.reduce((a, b) => a + b, 0));
      return Array.from({ length: 10 }, (_, i) => count - 1 - i);
    }, { budget: 10, every: 3, scores });
    using session = model.session({ evict: policy });
    await session.prefill(text.slice(0, 30));
    assert.ok(sums.length > 4 && sums.every((found) => Math.abs(found - sum) < 1e-5));
  }
});

evict("a function that fails ends the request, and nothing is evicted", async () => {
  using model = await load();
  let answer: () => ArrayLike<number> = () => [0];
  using session = model.session({
    evict: evictBy(() => answer(), { budget: 8, every: 2, scores: "none" }),
  });
  await session.prefill(text.slice(0, 10));
  const before = session.kv.textPositions;
  const wrong: [() => unknown, RegExp][] = [
    [() => {
      throw new Error("no idea");
    }, /^evict-failed: evictBy: no idea/],
    [() => [0, 0], /found 0 twice/],
    [() => [], /found 0 of them/],
    [() => [0, 10], /indices under 10, but found 10/],
    [() => [0.5], /found 0.5/],
    [
      () => Array.from({ length: 9 }, (_, i) => i),
      /from 1 to 8 different indices.*found 9 of them/,
    ],
    [() => Promise.resolve([0]), /found \[object Promise\]/],
  ];
  for (const [body, expected] of wrong) {
    answer = body as typeof answer;
    assert.match(await thrown(() => session.generate([], { maxTokens: 5 }).text()), expected);
    assert.equal(session.kv.textPositions, before);
  }
  answer = () => [0, 9];
  await session.prefill([5]);
  // The token that was drawn before the first failure is the tenth.
  assert.equal(Array.from(session.kv.textPositions), [0, 9, 10, 11]);
});

const policies: EvictPolicy[] = [
  slidingWindow({ recent: 30, every: 3 }),
  slidingWindow({ sinks: 2, recent: 30, positions: "text" }),
  h2o({ budget: 30 }),
  tova({ budget: 30, every: 4 }),
];

evict("generation goes on for ever, forks, stops, and forgets what was not shown", async () => {
  using model = await load();
  for (const policy of policies) {
    using session = model.session({ evict: policy });
    const options = { maxTokens: 200, seed: 1, sampler: [temperature(2)], ignoreEnd: true };
    const shown: number[] = [];
    for await (const step of session.generate(text.slice(0, 10), options)) {
      shown.push(step.token);
      if (shown.length === 150) break;
    }
    const all = [...text.slice(0, 10), ...shown];
    const tokens = Array.from(session.tokens);
    assert.ok(tokens.length <= 38);
    // What the engine had drawn ahead is forgotten, but not what was evicted for it.
    Array.from(session.kv.textPositions).forEach((position, i) =>
      assert.is(tokens[i], all[position], `${policy.name} ${position}`)
    );
    await session.prefill(text.slice(0, 40));
    using fork = session.fork();
    const said = await Promise.all([fork, session].map((one) => one.generate([7], options).text()));
    assert.is(said[0], said[1]);
    assert.equal(fork.kv.textPositions, session.kv.textPositions);
    const early = AbortSignal.abort();
    const last = session.kv.textPositions.at(-1);
    assert.match(await thrown(() => session.prefill([5, 6], { signal: early })), /Abort/);
    assert.is(session.kv.textPositions.at(-1), last);
    session.truncate(20);
    assert.is(session.position, 20);
    assert.equal(session.kv.textPositions, fork.kv.textPositions.slice(0, 20));
    assert.equal(
      session.kv.read({ which: "value", layer: 1, head: 0 }),
      fork.kv.read({ which: "value", layer: 1, head: 0, from: 0, to: 20 }),
    );
    assert.match(
      await thrown(() => fork.save(temporaryPath("evicted.session"))),
      /evicted no tokens/,
    );
  }
});

evict("scores of a text come by place, and a saved session can take the place of one", async () => {
  using model = await load();
  using session = model.session({ kv: f32, evict: slidingWindow({ recent: 60 }) });
  const scores = await session.score(text.slice(0, 200));
  using plain = model.session({ context: 66, kv: f32 });
  const whole = await plain.score(text.slice(0, 65));
  assert.equal(scores.slice(1, 65), whole.slice(1));
  assert.ok(scores.slice(1).every((score) => score < 0 && score > -20));
  const file = temporaryPath("plain.session");
  await plain.save(file);
  await session.restore(file);
  assert.equal(session.logits(), plain.logits());
  assert.equal(Array.from(session.kv.textPositions), Array.from({ length: 65 }, (_, i) => i));
  await session.prefill(text.slice(0, 50));
  assert.is(session.position, 65);
});

evict("sessions of a pool evict, and share nothing", async () => {
  using model = await load();
  using pool = model.kvPool({ pages: 4, whenFull: "evict" });
  using one = pool.session({ evict: h2o({ budget: 100 }) });
  using own = model.session({ evict: h2o({ budget: 100 }) });
  for (const session of [one, own]) await session.prefill(text.slice(0, 200));
  assert.equal(one.logits(), own.logits());
  using other = pool.session({ context: 256 });
  await other.prefill(text.slice(0, 100));
  assert.is(other.stats.reusedTokens, 0);
  // What an evicting session holds can't be computed again, so it stays; only its holder could let it go.
  const signal = AbortSignal.timeout(30);
  assert.match(await thrown(() => other.prefill(text.slice(0, 120), { signal })), /TimeoutError/);
  assert.is(other.position, 100);
  one.dispose();
  await other.prefill(text.slice(0, 120));
});

evict("misuse is refused with the reason", async () => {
  using model = await load();
  const wrong: [unknown, RegExp][] = [
    [{}, /Expected evict to be a policy/],
    [() => [0], /evict to be a policy.*but found a function; evictBy\(choose/],
    ["h2o", /evict to be a policy.*but found "h2o"/],
    [{ name: "lru" }, /sliding_window, h2o, snap_kv, tova, script/],
    [{ ...tova({ budget: 4 }), recent: 2 }, /"recent"/],
    [tova({ budget: 0 }), /budget to be a whole number from 1/],
    [tova({ budget: NaN }), /budget to be a whole number/],
    [h2o({ budget: 4, recent: 5 }), /within the budget of 4/],
    [slidingWindow({ recent: 4, every: 0 }), /every to be a whole number from 1/],
    [slidingWindow({ recent: 4, positions: "page" as never }), /cache, text/],
    [evictBy(undefined as never, { budget: 4 }), /choose to be a function, but found none/],
  ];
  for (const [policy, expected] of wrong) {
    assert.match(await thrown(() => model.session({ evict: policy as EvictPolicy })), expected);
  }
  const factories: [() => EvictPolicy, RegExp][] = [
    [() => h2o(undefined as never), /options of h2o, but found undefined/],
    [() => h2o({ budget: 8, recents: 4 } as never), /option of h2o.*"recents"/],
    [() => tova({ budget: 8, recent: 4 } as never), /option of tova.*"recent"/],
    [() => snapKv({ budget: 8, windows: 4 } as never), /option of snapKv.*"windows"/],
    [() => slidingWindow({ recent: 8, sink: 4 } as never), /option of slidingWindow.*"sink"/],
    [() => slidingWindow({} as never), /recent of slidingWindow to be a number.*undefined/],
    [() => slidingWindow({ recent: 8, sinks: NaN }), /sinks of slidingWindow.*NaN/],
    [() => evictBy(() => [0], { budget: 8, score: "sum" } as never), /option of evictBy.*"score"/],
  ];
  for (const [make, expected] of factories) assert.throws(make, expected);
  const policy = h2o({ budget: 20 });
  assert.match(await thrown(() => model.session({ evict: policy, context: 21 })), /context of 21/);
  assert.match(
    await thrown(() => model.session({ evict: policy, shift: { keep: 1 } })),
    /either an eviction policy or a context shift/,
  );
  using session = model.session({ evict: policy });
  using recording = session.record(["blocks.0.q"]);
  using keys = session.record(["blocks.0.k"]);
  await session.prefill(text.slice(0, 50));
  assert.match(await thrown(() => session.kv.errors(keys)), /evicted no tokens, .* holds 21 of 50/);
  assert.match(
    await thrown(() => session.kv.attention(recording.get("blocks.0.q"))),
    /evicted no tokens|expected queries/,
  );
});

evict("the study of sinks measures what it says", async () => {
  using model = await load();
  const rows = await measureStreaming(model, Uint32Array.from(text), { cache: 64, every: 4 });
  assert.equal(rows.map(({ name }) => name).slice(0, 3), ["whole", "0+64", "1+63"]);
  using session = model.session({ context: 400 });
  const scores = await session.score(text);
  const mean = scores.slice(68).reduce((sum, score) => sum + score, 0) / (400 - 68);
  assert.ok(Math.abs(rows[0]!.perplexity / Math.exp(-mean) - 1) < 1e-9);
  assert.is(new Set(rows.map(({ perplexity }) => perplexity)).size, rows.length);
  for (const { late } of rows) assert.ok(late > 1 && late < 2000);
});

evict.run();
