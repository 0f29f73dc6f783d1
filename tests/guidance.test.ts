/** Classifier-free guidance: against both sessions recomputed one by one, alone and among many. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  customDraft,
  type GenerateOptions,
  greedy,
  guidance,
  loadModel,
  type SamplerStage,
  type Session,
  temperature,
  topK,
  uniform,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const load = () => loadModel(path, { threads: 2 });
const prompt = Array.from({ length: 30 }, (_, i) => 3 + (i * 7) % 290);
const negative = Array.from({ length: 11 }, (_, i) => 5 + (i * 13) % 290);

function logSoftmax(logits: Float32Array, heat: number): number[] {
  const max = Math.max(...logits) / heat;
  const sum = logits.reduce((total, x) => total + Math.exp(x / heat - max), 0);
  return Array.from(logits, (x) => x / heat - max - Math.log(sum));
}

/** The paper's formula over two plain sessions, with the draw of the documentation. */
async function reference(scale: number, heat: number, seed: number, count: number) {
  using model = await load();
  using one = model.session({ context: 256 });
  using two = model.session({ context: 256 });
  await Promise.all([one.prefill(prompt), two.prefill(negative)]);
  const tokens: number[] = [];
  for (let i = 0; i < count; i++) {
    const [c, u] = [logSoftmax(one.logits(), heat), logSoftmax(two.logits(), heat)];
    const weights = c.map((x, t) => Math.exp((u[t] as number) + scale * (x - (u[t] as number))));
    const aim = uniform({ seed, position: one.position }) * weights.reduce((a, b) => a + b);
    let sum = 0;
    const token = weights.findIndex((weight) => (sum += weight) > aim);
    tokens.push(token);
    await Promise.all([one.prefill([token]), two.prefill([token])]);
  }
  return tokens;
}

const suiteOf = suite("guidance");

suiteOf("tokens are those of the formula, in any order with a temperature", async () => {
  using model = await load();
  using other = model.session({ context: 256 });
  await other.prefill(negative);
  for (const [scale, heat, seed] of [[1.5, 1, 1], [3, 2, 2], [0, 1, 3], [1, 0.7, 4]] as const) {
    const expected = await reference(scale, heat, seed, 25);
    const chains = [
      [temperature(heat), guidance(other, scale)],
      [guidance(other, scale), temperature(heat)],
    ];
    for (const sampler of chains) {
      using session = model.session({ context: 256 });
      const options = { sampler, seed, maxTokens: 25, ignoreEnd: true };
      await session.generate(prompt, options).text();
      assert.equal(Array.from(session.tokens.slice(prompt.length)), expected);
      assert.equal(Array.from(other.tokens), negative);
    }
  }
});

suiteOf("a scale of 1 is the session itself, one of 0 the other one", async () => {
  using model = await load();
  using other = model.session({ context: 256 });
  await other.generate(negative, { maxTokens: 1, seed: 0 }).text(); // stands before a token
  const generated = async (stages: SamplerStage[], from: readonly number[] | undefined) => {
    using session = from === undefined ? other.fork() : model.session({ context: 256 });
    const before = from === undefined ? session.position : from.length;
    const options = { sampler: [...stages, greedy()], maxTokens: 20, ignoreEnd: true };
    await session.generate(from ?? "", options).text();
    return session.tokens.slice(before);
  };
  assert.equal(await generated([guidance(other, 1)], prompt), await generated([], prompt));
  assert.equal(await generated([guidance(other, 0)], prompt), await generated([], undefined));
  // A session that has nothing to read, too.
  using ready = model.session({ context: 256 });
  await ready.prefill(prompt);
  const options = { sampler: [guidance(other, 0), greedy()], maxTokens: 20, ignoreEnd: true };
  await ready.generate("", options).text();
  assert.equal(ready.tokens.slice(prompt.length), await generated([], undefined));
});

suiteOf("it goes through sampleMany, pieces and records", async () => {
  using model = await load();
  using other = model.session({ context: 256 });
  await other.prefill(negative);
  using session = model.session({ context: 256 });
  const sampler = [topK(50), guidance(other, 2)];
  const options: GenerateOptions = { sampler, maxTokens: 10, ignoreEnd: true };
  const many = await session.sampleMany(prompt, { ...options, n: 5, seed: 3 }).collect();
  for (const { seed, tokens } of many) {
    session.truncate(0);
    const generation = session.generate(prompt, { ...options, seed, trace: true });
    await generation.text();
    assert.equal(Array.from(session.tokens.slice(prompt.length)), tokens);
    const [, guided] = generation.trace?.stages ?? [];
    assert.is(guided?.name, "guidance=2");
    assert.not.equal(guided?.left.entropy, guided?.received.entropy);
  }
});

suiteOf("the guide may go on, or end, while it guides; so may who is guided", async () => {
  using model = await load();
  const expected = await reference(2, 1, 5, 40);
  const ends: ((other: Session) => unknown)[] = [
    (other) => other.dispose(),
    (other) => other.truncate(2),
    (other) => other.prefill([7, 8, 9]),
    (other) => other.generate([5], { maxTokens: 30, seed: 1 }).text(),
  ];
  for (const [i, end] of ends.entries()) {
    using other = model.session({ context: 256 });
    await other.prefill(negative);
    using session = model.session({ context: 256 });
    const options = { sampler: [guidance(other, 2)], seed: 5, maxTokens: 40, ignoreEnd: true };
    let ended: unknown;
    const tokens: number[] = [];
    for await (const { token } of session.generate(prompt, options)) {
      if (tokens.push(token) === 1 + i) ended = end(other);
    }
    await ended;
    assert.equal(tokens, expected, `end ${i}`);
  }
  // Whoever is guided leaves, is cancelled or disposed of at any time, with its companion in the batch.
  using other = model.session({ context: 1000 });
  await other.prefill(negative);
  const sampler = [guidance(other, 2)];
  for (let i = 0; i < 12; i++) {
    const session = model.session({ context: 1000 });
    const control = new AbortController();
    // Half a megabyte of records: the engine waits for its reader long before the end, wherever that is.
    const options = { sampler, seed: 5, ignoreEnd: true, topLogprobs: 64, signal: control.signal };
    const steps = session.generate(prompt, options);
    if (i % 3 === 2) {
      let seen = 0;
      for await (const _ of steps) if (seen++ === i % 4) break;
    } else {
      for (let step = 0; step < i % 4; step++) await steps.next();
      if (i % 3 === 0) session.dispose();
      else control.abort();
      await rejection(() => steps.text());
    }
    session.dispose();
  }
  using session = model.session({ context: 256 });
  const steps = session.generate(prompt, { sampler, seed: 5, maxTokens: 40, ignoreEnd: true });
  assert.equal(await Array.fromAsync(steps, ({ token }) => token), expected);
  assert.equal(Array.from(other.tokens), negative);
});

suiteOf("guesses of others and companions share a batch that is full", async () => {
  using model = await load();
  using other = model.session({ context: 256 });
  await other.prefill(negative);
  const [count, maxTokens] = [40, 24];
  const known: number[][] = [];
  const alone: GenerateOptions = { maxTokens, ignoreEnd: true };
  for (let seed = 0; seed < count; seed++) {
    using session = model.session({ context: 256 });
    const sampler = seed % 2 === 0 ? [guidance(other, 2)] : [temperature(0.9)];
    const steps = session.generate(prompt, { ...alone, sampler, seed });
    known.push(await Array.fromAsync(steps, ({ token }) => token));
  }
  // 20 drafts of 32 guesses and 20 companions are more rows than a batch has.
  let guessed = 0;
  const texts = await Promise.all(known.map(async (tokens, seed) => {
    using session = model.session({ context: 256 });
    const draft = customDraft(({ tokens: text, most }) => {
      const guesses = tokens.slice(text.length - prompt.length).slice(0, most);
      guessed += guesses.length;
      return seed % 4 === 1 ? guesses : guesses.map((token, i) => i < 3 ? token : 5);
    }, { length: 32 });
    const options = seed % 2 === 0
      ? { ...alone, sampler: [guidance(other, 2)], seed }
      : { ...alone, sampler: [temperature(0.9)], seed, draft };
    const steps = session.generate(prompt, options);
    return await Array.fromAsync(steps, ({ token }) => token);
  }));
  assert.equal(texts, known);
  assert.ok(guessed > 200, `${guessed} guesses`);
});

suiteOf("misuse is named", async () => {
  using model = await load();
  using session = model.session({ context: 64 });
  using other = model.session({ context: 64 });
  const refused = async (sampler: SamplerStage[], words: RegExp) => {
    const run = () => session.generate(prompt, { sampler, maxTokens: 3 }).text();
    assert.match((await rejection(run)).message, words);
  };
  await refused([guidance(other, 2)], /at least one token as guide, found an empty one/);
  await other.prefill([3]);
  await refused([guidance(session, 2)], /an idle session as guide/);
  await refused([guidance(other, 2), guidance(other, 3)], /at most one guidance/);
  await refused([{ name: "guidance", params: { scale: 2 } }], /guidance\): expected the logits of/);
  using second = await load();
  using foreign = second.session({ context: 64 });
  await foreign.prefill([3]);
  await refused([guidance(foreign, 2)], /guide of the same model/);
  const gone = model.session({ context: 64 });
  const stage = guidance(gone, 2);
  gone.dispose();
  await refused([stage], /disposed/);
  assert.throws(() => guidance(other, -1), /scale of guidance to be from 0 to 100/);
  assert.throws(
    () => guidance({} as never, 1),
    /session of guidance to be a Session, but found an Object/,
  );
  // The guide's context ends first.
  using short = model.session({ context: 4 });
  await short.prefill([3, 4]);
  session.truncate(0);
  const generation = session.generate(prompt, { sampler: [guidance(short, 2)], ignoreEnd: true });
  await generation.text();
  assert.is(generation.stopReason, "context");
  assert.is(session.position, prompt.length + 2);
});
suiteOf.run();
