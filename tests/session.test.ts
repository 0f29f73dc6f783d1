/** Sessions: prefill, steps, generation, cancellation, truncation, shifts; all on tiny models. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  type GenerateOptions,
  greedy,
  type KvFormat,
  loadModel,
  type Model,
  type Step,
  temperature,
  topK,
  topP,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 4096 });
/** Slow enough that a long prefill is still running when a test looks. */
const slowPath = tinyModel({ context: 8192, layers: 6, embedding: 256, feedForward: 1024 });

/** One thread: a tiny model has nothing to share out, and the machine may have other work. */
const load = () => loadModel(path, { threads: 1 });

async function collect(
  model: Model,
  prompt: string | number[],
  options: GenerateOptions,
): Promise<Step[]> {
  using session = model.session();
  const steps: Step[] = [];
  for await (const step of session.generate(prompt, options)) steps.push(step);
  return steps;
}

const long = (length: number) => Array.from({ length }, (_, i) => 3 + (i * 7) % 250);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const generation = suite("generation");

generation("steps carry tokens, texts, probabilities and places", async () => {
  using model = await load();
  using session = model.session();
  const run = session.generate("the head", {
    seed: 1,
    maxTokens: 20,
    topLogprobs: 5,
    ignoreEnd: true,
  });
  const steps: Step[] = [];
  for await (const step of run) steps.push(step);
  assert.is(steps.length, 20);
  assert.is(run.stopReason, "length");
  assert.equal(run.promptTokens, model.tokenize("the head"));
  for (const [i, step] of steps.entries()) {
    assert.is(step.position, run.promptTokens.length + i);
    assert.ok(step.logprob < 0 && step.logprob > -30);
    assert.is(step.top.length, 5);
    for (let k = 1; k < 5; k++) {
      assert.ok((step.top[k - 1]?.logprob ?? NaN) >= (step.top[k]?.logprob ?? NaN));
    }
    const own = step.top.find((other) => other.token === step.token);
    if (own) assert.is(own.logprob, step.logprob);
  }
  assert.is(session.position, run.promptTokens.length + 20);
  assert.equal([...session.tokens], [...run.promptTokens, ...steps.map((step) => step.token)]);
  assert.is(session.stats.prefillTokens, run.promptTokens.length);
  assert.is(session.stats.decodeTokens, 19);
  // Each request has its own; the last token of the one before is evaluated with it.
  await session.prefill([5, 6]);
  assert.is(session.stats.prefillTokens, 3);
  assert.is(session.stats.decodeTokens, 0);
});

generation("the same seed gives the same tokens, another one others", async () => {
  using one = await loadModel(path, { threads: 1 });
  using three = await loadModel(path, { threads: 3 });
  const options = {
    maxTokens: 40,
    ignoreEnd: true,
    sampler: [temperature(1.2), topK(50), topP(0.95)],
  };
  const reference = await collect(one, "the head", { ...options, seed: 7 });
  assert.equal(await collect(one, "the head", { ...options, seed: 7n }), reference);
  assert.equal(await collect(three, "the head", { ...options, seed: 7 }), reference);
  const other = await collect(one, "the head", { ...options, seed: 8 });
  assert.not.equal(other.map((step) => step.token), reference.map((step) => step.token));
});

generation("a drawn seed is told, and repeats the text", async () => {
  using model = await load();
  using session = model.session();
  const first = session.generate("the", { maxTokens: 16, ignoreEnd: true });
  const text = await first.text();
  using again = model.session();
  const second = again.generate("the", { maxTokens: 16, ignoreEnd: true, seed: first.seed });
  assert.is(await second.text(), text);
});

generation("greedy takes the best token, and its text is the tokens' text", async () => {
  using model = await load();
  const steps = await collect(model, "he", {
    sampler: [greedy()],
    maxTokens: 12,
    topLogprobs: 1,
    ignoreEnd: true,
  });
  for (const step of steps) assert.is(step.token, step.top[0]?.token);
});

generation("pieces of a prompt, one by one or together, give the same", async () => {
  using model = await load();
  const options = { sampler: [greedy()], maxTokens: 8, ignoreEnd: true };
  const prompt = long(300);
  const whole = await collect(model, prompt, options);
  using session = model.session({ chunk: 33 });
  await session.prefill(prompt.slice(0, 100));
  await session.prefill(prompt.slice(100, 299));
  const parts: Step[] = [];
  for await (const step of session.generate(prompt.slice(299), options)) parts.push(step);
  assert.equal(parts, whole);
});

generation("single steps are the same as a generation", async () => {
  using model = await load();
  const whole = await collect(model, "the head", {
    sampler: [greedy()],
    maxTokens: 10,
    ignoreEnd: true,
  });
  using session = model.session();
  await session.prefill("the head");
  for (const step of whole) {
    const single = await session.step({ sampler: [greedy()] });
    assert.equal([single.token, single.logprob, single.position], [
      step.token,
      step.logprob,
      step.position,
    ]);
  }
});

generation(
  "stop strings end it before them, and the session knows only what was shown",
  async () => {
    using model = await load();
    const options = { seed: 3, maxTokens: 60, ignoreEnd: true, sampler: [topK(40)] };
    const steps = await collect(model, "the", options);
    // A text of the middle that no earlier step has.
    const at = steps.findIndex((step, i) =>
      i > 5 && /^[a-z ]+$/.test(step.text) &&
      !steps.slice(0, i).some((s) => s.text.includes(step.text))
    );
    assert.ok(at > 0, "the tiny model never wrote a letter");
    const stop = steps[at]?.text ?? "";
    using session = model.session();
    const run = session.generate("the", { ...options, stop: ["never written", stop] });
    const shown: Step[] = [];
    for await (const step of run) shown.push(step);
    assert.is(run.stopReason, "stop");
    assert.equal(shown, steps.slice(0, at));
    assert.is(session.position, steps[at]?.position ?? 0);
  },
);

generation("leaving the loop leaves the session behind the last step", async () => {
  using model = await load();
  using session = model.session();
  let last: Step | undefined;
  for await (const step of session.generate("the", { seed: 5, maxTokens: 500, ignoreEnd: true })) {
    last = step;
    if (step.position === 10) break;
  }
  assert.is(session.position, 11);
  assert.is(session.tokens[10], last?.token);
  // Going on is the same as never having left.
  const options = { sampler: [greedy()], maxTokens: 5, ignoreEnd: true };
  const next: Step[] = [];
  const kept = [...session.tokens];
  for await (const step of session.generate([], options)) next.push(step);
  assert.equal(next.map((s) => s.token), (await collect(model, kept, options)).map((s) => s.token));
});

generation("the end of the text ends it", async () => {
  using model = await load();
  for (let seed = 0; seed < 30; seed++) {
    using session = model.session();
    const run = session.generate("the", { seed, maxTokens: 400, sampler: [temperature(3)] });
    const steps: Step[] = [];
    for await (const step of run) steps.push(step);
    if (run.stopReason !== "end") continue;
    assert.is(steps.at(-1)?.token, 2);
    return;
  }
  assert.unreachable("thirty texts without an end");
});
generation.run();

const cancelling = suite("cancelling");

cancelling("a signal ends a generation within 50 ms", async () => {
  using model = await loadModel(slowPath, { threads: 2 });
  using session = model.session();
  const tries: number[] = [];
  // Once is enough: other work of the machine may delay any of them.
  while (tries.length < 5 && tries.every((took) => took >= 50)) {
    const controller = new AbortController();
    const from = session.position;
    const run = session.generate("the", {
      signal: controller.signal,
      maxTokens: 3000,
      ignoreEnd: true,
    });
    let count = 0;
    let asked = 0;
    const error = await rejection((async () => {
      for await (const step of run) {
        if (++count === 3) {
          asked = performance.now();
          controller.abort();
        }
        assert.ok(step.position < from + 200);
      }
    })());
    tries.push(performance.now() - asked);
    assert.is(error.name, "AbortError");
    assert.is(run.stopReason, "aborted");
  }
  assert.ok(tries.some((took) => took < 50), `took ${tries.join("; ")} ms`);
  assert.is(session.generate("a", { maxTokens: 1 }).stopReason, undefined);
  assert.is((await session.step()).position, session.position - 1);
});

cancelling("a signal counts also where the engine has ended before it", async () => {
  using model = await loadModel(tinyModel());
  using session = model.session();
  for (const stop of [[], ["no such text"]]) {
    for (const wait of [0, 30]) {
      for (const asked of [1, 5, 20]) {
        session.truncate(0);
        const controller = new AbortController();
        const { signal } = controller;
        const run = session.generate("the", { signal, stop, maxTokens: 20, ignoreEnd: true });
        let count = 0;
        const error = await rejection(async () => {
          for await (const _ of run) {
            if (++count !== asked) continue;
            await sleep(wait);
            controller.abort(new Error("enough"));
          }
        });
        assert.is(error.message, "enough");
        assert.is(run.stopReason, "aborted");
        assert.is(count, asked);
        assert.is(session.position, run.promptTokens.length + asked);
      }
    }
  }
  const controller = new AbortController();
  const { signal } = controller;
  const position = session.position;
  const short = session.prefill("the", { signal });
  controller.abort(new Error("enough"));
  assert.is((await rejection(short)).message, "enough");
  assert.is(session.position, position);
  const many = new AbortController();
  const samples = session.sampleMany("", { n: 3, signal: many.signal, maxTokens: 4 });
  await samples.next();
  await sleep(30);
  many.abort(new Error("enough"));
  assert.is((await rejection(() => samples.next())).message, "enough");
});

cancelling("a signal ends a prefill within 50 ms, and the session is as it was", async () => {
  using model = await loadModel(slowPath, { threads: 2 });
  using session = model.session({ context: 8192 });
  await session.prefill("the");
  const before = session.position;
  const tries: [took: number, piece: number][] = [];
  const late = ([took, piece]: [number, number]) => took >= Math.max(50, piece / 2);
  while (tries.length < 5 && tries.every(late)) {
    const controller = new AbortController();
    const { signal } = controller;
    const pieces: number[] = [];
    const onPrefill = () => void pieces.push(performance.now());
    const promise = rejection(session.prefill(long(8000), { signal, onPrefill }));
    while (pieces.length < 3) await sleep(1);
    const asked = performance.now();
    controller.abort(new Error("enough"));
    assert.is((await promise).message, "enough");
    tries.push([performance.now() - asked, (pieces[2] ?? NaN) - (pieces[1] ?? NaN)]);
    assert.is(session.position, before);
  }
  // Where the machine has so much other work that a piece of the prefill takes long, half of a
  // piece is the bound: the engine looks at every layer, of which a piece has six.
  assert.ok(!tries.every(late), `took, and a piece: ${tries.join("; ")} ms`);
  await session.step();
});

cancelling("the event loop goes on during a prefill", async () => {
  using model = await loadModel(slowPath, { threads: 2 });
  using session = model.session({ context: 8192 });
  let ticks = 0;
  let done = false;
  const progress: number[] = [];
  const began = performance.now();
  const prefill = session.prefill(long(4000), { onPrefill: ({ done }) => void progress.push(done) })
    .then(() => done = true);
  while (!done) {
    await sleep(1);
    ticks++;
  }
  await prefill;
  // A loop that stands still has one.
  const took = performance.now() - began;
  assert.ok(ticks > 1 + took / 20, `${ticks} ticks in ${took} ms`);
  assert.is(progress.at(-1), 4000);
  assert.equal(progress, [...progress].sort((a, b) => a - b));
});

cancelling("one request at a time", async () => {
  using model = await loadModel(slowPath, { threads: 2 });
  using session = model.session({ context: 8192 });
  const first = session.prefill(long(700));
  const busy = (error: unknown) => error instanceof EngineError && error.code === "busy";
  assert.throws(() => session.generate("a"), busy);
  assert.throws(() => session.truncate(0), busy);
  assert.ok(busy(await rejection(session.prefill("a"))));
  await first;
  assert.is(session.position, 700);
});

cancelling("disposing ends a generation that runs", async () => {
  using model = await loadModel(slowPath, { threads: 2 });
  const session = model.session();
  const run = session.generate("the", { maxTokens: 3000, ignoreEnd: true });
  await run.next();
  session.dispose();
  session.dispose();
  const error = await rejection((async () => {
    for (;;) if ((await run.next()).done) return;
  })());
  assert.is((error as EngineError).code, "disposed");
});
cancelling.run();

const state = suite("state of a session");

state("truncating and going on gives what a fresh session gives", async () => {
  using model = await load();
  using session = model.session();
  await session.prefill(long(120));
  const first = session.logits();
  await session.prefill(long(60));
  session.truncate(119);
  assert.throws(() => session.logits(), /logits/);
  await session.prefill(long(120).slice(119));
  assert.equal(session.logits(), first);
  assert.throws(() => session.truncate(121), /length/);
  session.truncate(0);
  assert.is(session.position, 0);
});

state("logits of all positions contain those of the last", async () => {
  using model = await load();
  using session = model.session();
  assert.throws(() => session.logits(), /logits/);
  await session.prefill(long(40), { allLogits: true });
  assert.equal(session.logits(39), session.logits());
  using other = model.session();
  await other.prefill(long(17));
  assert.equal(other.logits(), session.logits(16));
  assert.throws(() => session.logits(40), /row/);
});

state("scores are the log-probabilities of the logits", async () => {
  using model = await load();
  using session = model.session();
  const tokens = long(30);
  const scores = await session.score(tokens, { allLogits: true });
  assert.ok(Number.isNaN(scores[0]));
  for (let i = 1; i < tokens.length; i++) {
    const logits = session.logits(i - 1);
    const max = Math.max(...logits);
    const sum = logits.reduce((total, logit) => total + Math.exp(logit - max), 0);
    const expected = (logits[tokens[i] ?? 0] ?? NaN) - max - Math.log(sum);
    assert.ok(Math.abs((scores[i] ?? NaN) - expected) < 1e-4, `${scores[i]} ${expected}`);
  }
});

state("a full context is an error, or a reason to end", async () => {
  using model = await load();
  using session = model.session({ context: 64 });
  assert.is((await rejection(session.prefill(long(65))) as EngineError).code, "context-full");
  const run = session.generate(long(60), { ignoreEnd: true });
  await run.text();
  assert.is(run.stopReason, "context");
  assert.ok(session.position >= 64);
});

state("with a shift, generation goes on", async () => {
  using model = await load();
  using session = model.session({ context: 64, shift: { keep: 4 } });
  const run = session.generate(long(60), { maxTokens: 150, ignoreEnd: true, seed: 1 });
  let count = 0;
  for await (const step of run) {
    count++;
    assert.ok(step.position <= 64);
  }
  assert.is(count, 150);
  assert.equal([...session.tokens.subarray(0, 4)], long(4));
  // Left early after some shifts, it stands behind the last step. The engine may be past the next shift by
  // then, which moves that step to an earlier place; there is none behind it, which would drop that step.
  using other = model.session({ context: 64, shift: { keep: 4 } });
  let last: Step | undefined;
  let steps = 0;
  for await (const step of other.generate(long(60), { maxTokens: 110, ignoreEnd: true, seed: 1 })) {
    last = step;
    if (++steps === 90) break;
  }
  assert.is(other.tokens.at(-1), last?.token);
});

state("whatever ends in the pass behind a shift stands where it should", async () => {
  using model = await load();
  /** A session that reaches pass `count` of those that compute again what a shift has moved, and fails in it. */
  const failing = (count: number) => {
    const session = model.session({ context: 64, shift: { keep: 4 } });
    let left = count;
    session.hooks({
      embed: ({ rows, position }) => {
        if (rows > 1 && position === 4 && --left === 0) throw new Error("far enough");
      },
    });
    return session;
  };
  for (const shifts of [1, 2, 3]) {
    using session = failing(shifts);
    const text = long(60);
    const generate = async () => {
      for await (const step of session.generate(long(60), { maxTokens: 150, ignoreEnd: true })) {
        text.push(step.token);
      }
    };
    assert.match((await rejection(generate)).message, /far enough/);
    // The next token had no place when 64 were full; then half of the 60 behind the kept ones were dropped.
    assert.is(text.length, 65 + 30 * (shifts - 1));
    assert.equal([...session.tokens], [...text.slice(0, 4), ...text.slice(-31)]);
  }
  // What was there before the prompt stays, unless it was shifted out.
  for (const [shifts, before, left] of [[1, 40, 10], [2, 40, 4], [1, 3, 3], [2, 0, 0]] as const) {
    using session = failing(shifts);
    if (before > 0) await session.prefill(long(before));
    const error = await rejection(() => session.prefill(long(100)));
    assert.match(error.message, /far enough/);
    assert.equal(
      [...session.tokens],
      [...long(4), ...long(before).slice(before - left + 4)].slice(0, left),
    );
  }
});

state("the cache's formats take what they should", async () => {
  using model = await load();
  const bytes = (key: KvFormat, value: KvFormat) => {
    using session = model.session({ context: 256, kv: { key, value } });
    assert.equal([session.kv.keyFormat, session.kv.valueFormat, session.kv.context], [
      key,
      value,
      256,
    ]);
    return session.kv.bytes;
  };
  // Two layers, two heads, 16 values each for keys and for values.
  assert.is(bytes("f32", "f32"), 256 * 2 * 2 * 16 * (4 + 4));
  assert.is(bytes("f16", "bf16"), 256 * 2 * 2 * 16 * (2 + 2));
  assert.is(bytes("f32", "f16"), 256 * 2 * 2 * 16 * (4 + 2));
  assert.is(bytes("f8_e4m3", "f8_e5m2"), 256 * 2 * 2 * 16 * (1 + 1));
  assert.throws(() => model.session({ kv: { key: "q8" as "f16" } }), /kv.key/);
});

state("q8_0 needs heads of whole blocks, and says so", async () => {
  using model = await load();
  assert.throws(
    () => model.session({ kv: { key: "q8_0" } }),
    /keys that takes heads of 16 values, but found q8_0|keys that takes heads of 16 values, found q8_0/,
  );
  assert.throws(() => model.session({ kv: { value: "q8_0" } }), /values that takes heads of 16/);
});

state("a narrower cache is smaller, close, and the same in pieces", async () => {
  using model = await loadModel(tinyModel({ embedding: 128 }), { threads: 2 });
  const tokens = Array.from({ length: 300 }, (_, i) => 3 + (i * 37) % 256);
  const logits = async (key: KvFormat, value: KvFormat, piece: number) => {
    using session = model.session({ kv: { key, value } });
    for (let at = 0; at < tokens.length; at += piece) {
      await session.prefill(tokens.slice(at, at + piece));
    }
    return { bytes: session.kv.bytes, values: Array.from(session.logits()) };
  };
  const exact = await logits("f32", "f32", 300);
  for (
    const [key, value, share] of [
      ["q8_0", "q8_0", 34 / 128],
      ["f32", "q8_0", 81 / 128],
      ["f8_e4m3", "f8_e4m3", 1 / 4],
      ["f16", "f8_e5m2", 3 / 8],
      ["q4_0", "q5_1", 21 / 128],
      ["q5_0", "iq4_nl", 20 / 128],
      ["nvfp4", "mxfp4", 17.5 / 128],
      ["q4_1", "q4_1", 20 / 128],
      ["int8", "int8", 34 / 128],
    ] as const
  ) {
    const whole = await logits(key, value, 300);
    assert.is(whole.bytes, exact.bytes * share);
    assert.equal((await logits(key, value, 7)).values, whole.values);
    assert.ok(whole.values.some((x, i) => x !== exact.values[i]));
    // As far as rounded activations may move the logits of a real model (golden_llamacpp.ts). Floats of
    // 8 bits have three or two bits of fraction, where integers have seven; the narrow ones a step of a
    // fifteenth or a thirty-first of their range.
    const bound = value === "q8_0" || value === "int8" ? 0.005 : share < 1 / 4 ? 0.2 : 0.05;
    assert.ok(divergence(exact.values, whole.values) < bound);
  }
});

/** KL divergence of the distributions of two rows of logits, in nats. */
function divergence(p: readonly number[], q: readonly number[]): number {
  const logSum = (x: readonly number[]) => Math.log(x.reduce((sum, v) => sum + Math.exp(v), 0));
  const [of, other] = [logSum(p), logSum(q)];
  return p.reduce((sum, v, i) => sum + Math.exp(v - of) * (v - of - (q[i] as number) + other), 0);
}

state("options of a session are checked", async () => {
  using model = await load();
  const wrong: object[] = [
    { ctx: 4 },
    { context: 0 },
    { context: 1.5 },
    { context: 2 ** 21 },
    { kv: { keys: "f16" } },
    { shift: {} },
    { shift: { keep: -1 } },
    { context: 16, shift: { keep: 16 } },
    { chunk: 0 },
  ];
  for (const options of wrong) {
    assert.throws(() => model.session(options), undefined, JSON.stringify(options));
  }
});

state("sessions outlive their model, and many run at once", async () => {
  const model = await load();
  const alone = await collect(model, "the", { seed: 1, maxTokens: 20, ignoreEnd: true });
  const sessions = Array.from({ length: 5 }, () => model.session({ context: 128 }));
  model.dispose();
  const texts = await Promise.all(
    sessions.map((session) =>
      session.generate("the", { seed: 1, maxTokens: 20, ignoreEnd: true }).text()
    ),
  );
  // In a batch or alone: bitwise the same.
  assert.is(new Set(texts).size, 1);
  assert.ok(texts[0]?.startsWith(alone.map((step) => step.text).join("")));
  for (const session of sessions) session.dispose();
});
state.run();
