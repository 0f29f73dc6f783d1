/** Sampler stages that are functions: the same choices as their native twins, and what goes wrong. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  customStage,
  EngineError,
  formatSampler,
  type GenerateOptions,
  loadModel,
  logitBias,
  type LogitTape,
  minP,
  ngramDraft,
  noRepeatNgram,
  repetitionPenalty,
  sampleLogits,
  type SamplerStage,
  type Session,
  type StageCandidates,
  type StageFunction,
  temperature,
  topK,
  topNSigma,
  topP,
  uniform,
  xtc,
} from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const slowPath = tinyModel({ context: 8192, layers: 6, embedding: 256, feedForward: 1024 });
const prompt = Array.from({ length: 20 }, (_, i) => 3 + (i * 7) % 250);
const load = () => loadModel(path, { threads: 2 });

const minPTwin = customStage("min-p twin", ({ logits }) => {
  const least = logits.reduce((most, x) => Math.max(most, x)) + Math.log(0.1);
  for (const [i, x] of logits.entries()) if (x < least) logits[i] = -Infinity;
});
const nucleusTwin = customStage("nucleus twin", ({ logits, probabilities }) => {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!);
  let mass = 0;
  const kept = new Set<number>();
  for (const i of order) {
    kept.add(i);
    mass += probabilities[i] as number;
    if (mass >= 0.8) break;
  }
  return logits.map((x, i) => kept.has(i) ? x : -Infinity);
});
const sigmaTwin = customStage("sigma twin", ({ logits }) => {
  const mean = logits.reduce((sum, x) => sum + x, 0) / logits.length;
  const variance = logits.reduce((sum, x) => sum + (x - mean) ** 2, 0) / logits.length;
  const least = Math.max(...logits) - Math.sqrt(variance);
  for (const [i, x] of logits.entries()) if (x < least) logits[i] = -Infinity;
});

async function tokensOf(session: Session, sampler: readonly SamplerStage[]): Promise<number[]> {
  session.truncate(0);
  const options = { sampler, seed: 3, maxTokens: 40, ignoreEnd: true };
  return await Array.fromAsync(session.generate(prompt, options), ({ token }) => token);
}

const custom = suite("stages in TypeScript");

custom("a twin of a native stage chooses the same, wherever it stands", async () => {
  using model = await load();
  using session = model.session();
  const chains: [SamplerStage[], SamplerStage[]][] = [
    [[minP(0.1)], [minPTwin]],
    [[temperature(1.7), minP(0.1)], [temperature(1.7), minPTwin]],
    [[minP(0.1), temperature(1.7)], [minPTwin, temperature(1.7)]],
    [[temperature(1.5), topP(0.8), topK(9)], [temperature(1.5), nucleusTwin, topK(9)]],
    [[topK(30), minP(0.1), topP(0.8)], [topK(30), minPTwin, nucleusTwin]],
  ];
  for (const [native, twin] of chains) {
    const expected = await tokensOf(session, native);
    assert.equal(await tokensOf(session, twin), expected, formatSampler(twin));
    assert.ok(new Set(expected).size > 3);
  }
});

custom("a function sees none of the tokens that stages before it have taken out", async () => {
  using model = await load();
  using session = model.session();
  // All but every third token: what is left has another mean and deviation.
  const bias = logitBias(
    Array.from({ length: model.info.logits }, (_, id) => [id, id % 3 === 0 ? 0 : -Infinity]),
  );
  const chains = [[bias], [noRepeatNgram(1)], [bias, temperature(1.7)], [topK(90), bias]];
  for (const chain of chains) {
    const expected = await tokensOf(session, [...chain, topNSigma(1)]);
    assert.equal(await tokensOf(session, [...chain, sigmaTwin]), expected, formatSampler(chain));
    assert.ok(new Set(expected).size > 3);
  }
  const logits = Float32Array.from({ length: 300 }, (_, id) => Math.sin(id * id));
  const seen: number[][] = [];
  const look = customStage("look", ({ ids, logits }) => {
    seen.push([...ids]);
    assert.is(logits.length, ids.length);
    return logits.map((x) => 2 * x);
  });
  const some = logitBias([[0, -Infinity], [7, -Infinity]]);
  const options = { seed: 1, count: 50 };
  const native = await sampleLogits(logits, { ...options, sampler: [some, temperature(0.5)] });
  assert.equal(await sampleLogits(logits, { ...options, sampler: [some, look] }), native);
  assert.equal(seen[0]!.slice(0, 8), [1, 2, 3, 4, 5, 6, 8, 9]);
  assert.is(seen[0]!.length, 298);
});

/** Twins of stages that look at the text. */
const penaltyTwin = (penalty: number, lastN: number) =>
  customStage("penalty twin", ({ ids, logits, history }) => {
    const [said, by] = [new Set(history.subarray(-lastN)), Math.fround(penalty)];
    for (const [i, x] of logits.entries()) {
      if (said.has(ids[i] as number)) logits[i] = x <= 0 ? x * by : x / by;
    }
  });
const bigramTwin = customStage("bigram twin", ({ ids, logits, history }) => {
  const last = history.at(-1);
  const said = new Set([...history.subarray(1)].filter((_, i) => history[i] === last));
  for (const [i, id] of ids.entries()) if (said.has(id)) logits[i] = -Infinity;
});

custom(
  "a twin of a stage that looks at the text chooses the same, in all of a session",
  async () => {
    using model = await load();
    // The context is shifted several times.
    using session = model.session({ context: 48, shift: { keep: 4 } });
    const chains: [SamplerStage[], SamplerStage[]][] = [
      [[repetitionPenalty(1.4, 30), temperature(0.9)], [penaltyTwin(1.4, 30), temperature(0.9)]],
      [[repetitionPenalty(3, 1000)], [penaltyTwin(3, 1000)]],
      [[temperature(0.7), noRepeatNgram(2), topK(9)], [temperature(0.7), bigramTwin, topK(9)]],
    ];
    for (const [native, twin] of chains) {
      const [expected, found, plain] = [native, twin, native.slice(1)].map(() => [] as number[]);
      for (
        const [sampler, tokens] of [[native, expected], [twin, found], [
          native.slice(1),
          plain,
        ]] as const
      ) {
        session.truncate(0);
        // The second request sees what the first one said.
        for (const options of [{ seed: 3, maxTokens: 60 }, { seed: 4, maxTokens: 25 }]) {
          const settings = { ...options, sampler, ignoreEnd: true };
          for await (const { token } of session.generate(prompt, settings)) tokens!.push(token);
        }
      }
      assert.equal(found, expected, formatSampler(twin));
      assert.not.equal(plain, expected);
    }
  },
);

custom("the text that it sees: prompt, drafts, samples, tapes and rows of logits", async () => {
  using model = await load();
  using session = model.session();
  const settings = { seed: 3, maxTokens: 20, ignoreEnd: true } satisfies GenerateOptions;
  const [native, twin] = [[repetitionPenalty(1.4, 30)], [penaltyTwin(1.4, 30)]];
  const many = { ...settings, n: 3 };
  assert.equal(
    await session.sampleMany(prompt, { ...many, sampler: twin }).collect(),
    await session.sampleMany(prompt, { ...many, sampler: native }).collect(),
  );
  const generation = session.generate(prompt, { ...settings, sampler: twin, tape: true });
  const seen: number[][] = [];
  const drawn = await Array.fromAsync(generation, ({ token }) => token);
  const tape = generation.tape as LogitTape;
  assert.equal((await tape.counterfactual(native)).differences, []);
  assert.equal((await tape.counterfactual(twin)).differences, []);
  session.truncate(0);
  const watch = customStage("watch", ({ history }) => void seen.push([...history]));
  const drafted = { ...settings, sampler: [...native, watch], draft: ngramDraft() };
  assert.equal(await Array.fromAsync(session.generate(prompt, drafted), (s) => s.token), drawn);
  assert.equal(seen.at(-1), [...prompt, ...drawn.slice(0, seen.at(-1)!.length - prompt.length)]);
  let kept: StageCandidates | undefined;
  const logits = Float32Array.from({ length: 30 }, (_, i) => 2 * Math.sin(i * i));
  const options = { seed: 5, count: 40, history: [7, 3, 3] };
  const keep = customStage("keep", (candidates) => void (kept = candidates));
  assert.equal(
    await sampleLogits(logits, { ...options, sampler: [...twin, keep] }),
    await sampleLogits(logits, { ...options, sampler: native }),
  );
  assert.throws(() => kept?.history, /history to be read while the stage runs/);
});

custom("it sees what the stage before it left, and its trace says what it left", async () => {
  using model = await load();
  using session = model.session();
  const seen: StageCandidates[] = [];
  const watch = customStage("watch", (candidates) => {
    const { ids, logits } = candidates;
    assert.is(ids.length, 7);
    const sum = candidates.probabilities.reduce((a, b) => a + b);
    assert.ok(Math.abs(sum - 1) < 1e-5);
    seen.push({
      ids,
      logits: logits.slice(),
      probabilities: candidates.probabilities,
      seed: candidates.seed,
      sequence: candidates.sequence,
      position: candidates.position,
      history: candidates.history,
    });
    logits[ids.indexOf(Math.max(...ids))] = -Infinity;
  });
  const generation = session.generate(prompt, {
    sampler: [topK(7), temperature(2), watch],
    seed: 9,
    maxTokens: 5,
    ignoreEnd: true,
    tape: true,
    trace: { candidates: 7 },
  });
  await generation.text();
  const { tape, trace } = generation;
  assert.is(seen.length, 5);
  assert.is(trace?.stages[2]?.name, "function:watch");
  assert.equal(Array.from(trace?.stages[2]?.left.candidates ?? []), [6, 6, 6, 6, 6]);
  const text = [...prompt, ...trace?.token ?? []];
  for (const [step, { ids, logits, seed, sequence, position, history }] of seen.entries()) {
    assert.equal([...history], text.slice(0, prompt.length + step));
    assert.equal([seed, sequence, position], [9n, 0, prompt.length + step]);
    const row = tape?.row(step).logits as Float32Array;
    for (const [i, id] of ids.entries()) assert.is(logits[i], Math.fround(row[id]! * 0.5));
    assert.ok(trace?.token[step] !== Math.max(...ids));
    assert.is.not(uniform({ seed, sequence, position, draw: 1000 }), 0);
  }
  assert.equal((await tape?.replay())?.differences, []);
});

custom("what fails names the stage, and the session goes on where it was", async () => {
  using model = await load();
  using session = model.session();
  const thrown = new TypeError("no idea");
  const wrong: [StageFunction, RegExp][] = [
    [() => {
      throw thrown;
    }, /^sampler stage 2 \(bad one\): no idea$/],
    [({ logits }) => void logits.fill(-Infinity), /2 \(bad one\): Expected at least one token/],
    [({ logits }) => void (logits[3] = NaN), /2 \(bad one\): .*but found NaN for token \d+/],
    [({ logits }) => void (logits[0] = Infinity), /2 \(bad one\): .*but found Infinity/],
    [({ logits }) => logits.slice(1), /2 \(bad one\): Expected 8 logits, but found 7/],
    [(() => 3) as never, /2 \(bad one\): Expected nothing or a Float32Array .*but found 3/],
    [(() => Promise.resolve()) as never, /2 \(bad one\): .*but found a Promise/],
  ];
  const expected = await tokensOf(session, [topK(8)]);
  for (const [apply, text] of wrong) {
    let calls = 0;
    const late = customStage("bad one", (all) => ++calls < 4 ? undefined : apply(all));
    session.truncate(0);
    const shown: number[] = [];
    const options = { sampler: [topK(8), late], seed: 3, maxTokens: 40, ignoreEnd: true };
    try {
      for await (const { token } of session.generate(prompt, options)) shown.push(token);
      assert.unreachable(String(text));
    } catch (error) {
      assert.instance(error, EngineError);
      assert.is((error as EngineError).code, "stage-failed");
      assert.match((error as EngineError).message, text);
      if (String(text).includes("no idea")) assert.is((error as EngineError).cause, thrown);
    }
    assert.equal(shown, expected.slice(0, shown.length));
    assert.ok(shown.length <= 3, `${shown.length} were shown`);
    assert.is(session.position, shown.length === 0 ? 0 : prompt.length + shown.length);
    assert.equal(await tokensOf(session, [topK(8)]), expected);
  }
});

custom("sessions in one batch, samples of many, leaving early, a signal", async () => {
  using model = await load();
  using session = model.session();
  const settings = { seed: 3, maxTokens: 10, ignoreEnd: true } satisfies GenerateOptions;
  const native = session.sampleMany(prompt, { ...settings, n: 4, sampler: [minP(0.1)] });
  const twins = session.sampleMany(prompt, { ...settings, n: 4, sampler: [minPTwin] });
  const [expected, found] = await Promise.all([native.collect(), twins.collect()]);
  assert.equal(found, expected);
  for await (const { token } of session.generate(prompt, { ...settings, sampler: [minPTwin] })) {
    assert.is(token, expected[0]?.tokens[0]);
    break;
  }
  session.truncate(0);
  const control = new AbortController();
  let calls = 0;
  const abort = customStage("abort", () => void (++calls === 3 && control.abort()));
  try {
    await session.generate(prompt, { ...settings, sampler: [abort], signal: control.signal })
      .text();
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  const disposing = customStage("disposing", () => session.dispose());
  const last = session.generate(prompt, { ...settings, sampler: [disposing] });
  await last.text().catch((error: EngineError) => assert.is(error.code, "disposed"));
});

custom("a function may dispose of another session that runs", async () => {
  // Slow enough that the other one is far from its end.
  using model = await loadModel(slowPath, { threads: 2 });
  using session = model.session();
  const other = model.session();
  const settings = { seed: 3, ignoreEnd: true } satisfies GenerateOptions;
  const cut = other.generate(prompt, { ...settings, maxTokens: 8000 });
  await cut.next();
  const disposing = customStage("disposing", () => other.dispose());
  const sampler = [disposing];
  await session.generate(prompt, { ...settings, maxTokens: 3, sampler }).text();
  assert.is(session.position, prompt.length + 3);
  try {
    await cut.text();
    assert.unreachable();
  } catch (error) {
    assert.is((error as EngineError).code, "disposed");
  }
});

custom("draws without a session: the same as of native twins, whatever the chain", async () => {
  const logits = Float32Array.from({ length: 300 }, (_, i) => 4 * Math.sin(i * i));
  const draw = (sampler: SamplerStage[]) => sampleLogits(logits, { sampler, seed: 5, count: 200 });
  assert.equal(await draw([minPTwin]), await draw([minP(0.1)]));
  const around = [temperature(1.5), xtc(0.5, 0.02)];
  assert.equal(
    await draw([...around, nucleusTwin, topK(5)]),
    await draw([...around, topP(0.8), topK(5)]),
  );
  using model = await load();
  using session = model.session();
  for (const kind of ["f32", "top"] as const) {
    session.truncate(0);
    const options = { sampler: [minPTwin], seed: 3, maxTokens: 10, ignoreEnd: true };
    const generation = session.generate(prompt, { ...options, tape: { kind } });
    await generation.text();
    const tape = generation.tape as LogitTape;
    assert.equal((await tape.counterfactual([minPTwin])).differences, []);
    const [twin, native] = [[temperature(2), minPTwin, topK(9)], [
      temperature(2),
      minP(0.1),
      topK(9),
    ]];
    assert.equal(await tape.sample(twin, { draws: 20 }), await tape.sample(native, { draws: 20 }));
    assert.equal(await tape.distribution(twin, 3), await tape.distribution(native, 3));
    const orders = await tape.orderAblation(twin);
    assert.is(orders[1]?.notation, "temperature=2,top-k=9,function:min-p twin");
    assert.equal(
      orders.map(({ tokens }) => tokens),
      (await tape.orderAblation(native)).map(
        ({ tokens }) => tokens,
      ),
    );
  }
  const keys = new Set<string>();
  const keyed = customStage("keyed", ({ seed, sequence, position }) => {
    keys.add(`${seed} ${sequence} ${position}`);
  });
  await sampleLogits(logits, { sampler: [keyed], seed: 7, count: 3 });
  assert.equal([...keys], ["7 0 0", "7 0 1", "7 0 2"]);
});

custom("a draw whose function throws says so, and the next one works", async () => {
  const logits = Float32Array.of(1, 5, 2);
  const cause = new Error("not today");
  let calls = 0;
  const bad = customStage("bad", () => {
    if (++calls === 3) throw cause;
  });
  for (let i = 0; i < 2; i++) {
    calls = 0;
    try {
      await sampleLogits(logits, { sampler: [topK(2), bad], count: 5 });
      assert.unreachable();
    } catch (error) {
      assert.is((error as EngineError).code, "stage-failed");
      assert.is((error as EngineError).message, "sampler stage 2 (bad): not today");
      assert.is((error as EngineError).cause, cause);
    }
    assert.is(calls, 3);
  }
  for (const sampler of [[minPTwin], [minP(0.1)]]) {
    try {
      await sampleLogits(Float32Array.of(2, NaN, 1), { sampler });
      assert.unreachable();
    } catch (error) {
      assert.is((error as EngineError).code, "numeric");
      assert.match((error as EngineError).message, /that are numbers, found nan for token 1/);
    }
  }
  const best = customStage("best", ({ logits }) => {
    const most = Math.max(...logits);
    return logits.map((x) => x === most ? x : -Infinity);
  });
  assert.equal(await sampleLogits(logits, { sampler: [best], count: 2 }), Uint32Array.of(1, 1));
});

custom("a function may leave garbage, and draw itself", async () => {
  const logits = Float32Array.from({ length: 500 }, (_, i) => 4 * Math.sin(i * i));
  let garbage: unknown[] = [];
  const messy = customStage("messy", ({ ids, probabilities }) => {
    garbage = Array.from({ length: 2000 }, (_, i) => ({ i, p: probabilities[i % ids.length] }));
  });
  const sampler = [topK(40), messy];
  assert.equal(
    await sampleLogits(logits, { sampler, seed: 2, count: 3000 }),
    await sampleLogits(logits, { sampler: [topK(40)], seed: 2, count: 3000 }),
  );
  assert.is(garbage.length, 2000);
  const inner: Promise<Uint32Array>[] = [];
  const drawing = customStage("drawing", ({ logits }) => {
    inner.push(sampleLogits(logits.slice(), { sampler: [minPTwin], seed: 1 }));
  });
  const options = { sampler: [topK(5), drawing], seed: 2, count: 3 };
  assert.equal(
    await sampleLogits(logits, options),
    await sampleLogits(logits, { ...options, sampler: [topK(5)] }),
  );
  assert.equal((await Promise.all(inner)).map(({ length }) => length), [1, 1, 1]);
});

custom("what is no stage is refused", async () => {
  const script = { name: "script", params: { number: 1 } };
  assert.throws(() => customStage("", () => {}), /the name of a stage/);
  assert.throws(() => customStage("a=b", () => {}), /the name of a stage/);
  assert.throws(() => customStage("a", 3 as never), /a to be a function, but found 3/);
  assert.is(formatSampler([topK(3), minPTwin]), "top-k=3,function:min-p twin");
  try {
    await sampleLogits(Float32Array.of(1, 2), { sampler: [script] });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /a sampler stage .*but found "script"/);
  }
  using model = await load();
  using session = model.session();
  assert.throws(
    () => session.generate(prompt, { sampler: [script] }),
    /a sampler stage/,
  );
});
custom.run();
