/** Contrastive search: against the paper's score, computed with forks, recordings and logits. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  contrastiveSearch,
  customStage,
  type GenerateOptions,
  greedy,
  guidance,
  loadModel,
  type Model,
  ngramDraft,
  parseSampler,
  sampleLogits,
  type Session,
  temperature,
  topK,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel, tinyVector } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const norm = tinyVector("output_norm.weight");
const load = (threads = 2) => loadModel(path, { threads });
const prompt = Array.from({ length: 30 }, (_, i) => 3 + (i * 7) % 290);

/** Evaluates tokens and returns their hidden states behind the last norm. */
async function hidden(session: Session, tokens: readonly number[]): Promise<Float32Array[]> {
  using recording = session.record(["blocks.1.resid_post"]);
  await session.prefill(tokens);
  const { values, width } = recording.get("blocks.1.resid_post");
  return tokens.map((_, i) => {
    const row = values.slice(i * width, (i + 1) * width);
    const square = row.reduce((sum, x) => sum + x * x, 0) / width;
    return row.map((x, j) => x / Math.sqrt(square + 1e-5) * (norm[j] as number));
  });
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) =>
    x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** The paper's algorithm over plain sessions. */
async function reference(model: Model, alpha: number, k: number, heat: number, count: number) {
  using session = model.session({ context: 256 });
  const text = await hidden(session, prompt);
  const tokens: number[] = [];
  for (let step = 0; step < count; step++) {
    const logits = session.logits().map((x) => x / heat);
    const max = Math.max(...logits);
    const total = logits.reduce((sum, x) => sum + Math.exp(x - max), 0);
    const best = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
    let chosen = { token: -1, score: -Infinity };
    for (const token of best.slice(0, k).sort((a, b) => a - b)) {
      using fork = session.fork();
      const [state] = await hidden(fork, [token]);
      const penalty = Math.max(...text.map((other) => cosine(state!, other)));
      const p = Math.exp(logits[token]! - max) / total;
      const score = (1 - alpha) * p - alpha * penalty;
      if (score > chosen.score) chosen = { token, score };
    }
    tokens.push(chosen.token);
    text.push(...await hidden(session, [chosen.token]));
  }
  return tokens;
}

async function generated(model: Model, options: GenerateOptions) {
  using session = model.session({ context: 256 });
  const steps = [];
  const generation = session.generate(prompt, { ignoreEnd: true, ...options });
  for await (const { token, position, logprob } of generation) {
    steps.push({ token, position, logprob });
  }
  const { tokens, stats } = session;
  return { steps, generation, logits: session.logits(), tokens: Array.from(tokens), stats };
}

const search = suite("contrastive search");

search("tokens are those of the paper's score", async () => {
  using model = await load();
  for (const [alpha, k, heat] of [[0.6, 4, 1], [0.3, 8, 0.05], [1, 3, 1], [0, 5, 1]] as const) {
    const expected = await reference(model, alpha, k, heat, 12);
    const sampler = [temperature(heat), contrastiveSearch({ alpha, k })];
    const { steps, tokens, stats, logits } = await generated(model, { sampler, maxTokens: 12 });
    assert.equal(steps.map(({ token }) => token), expected);
    assert.equal(tokens, [...prompt, ...expected]);
    assert.equal(steps.map(({ position }) => position), expected.map((_, i) => 30 + i));
    // One pass a token, of all candidates, behind that of the prompt.
    assert.is(stats.passes, 1 + 12);
    using again = model.session({ context: 256 });
    await again.prefill(tokens);
    assert.equal(logits, again.logits());
  }
});

search("threads, neighbours and stages before it change nothing", async () => {
  using model = await load(1);
  using other = await load(3);
  const sampler = [contrastiveSearch({ k: 6 })];
  const alone = await generated(model, { sampler, maxTokens: 20 });
  const beside = await Promise.all([
    generated(other, { sampler, maxTokens: 20 }),
    generated(other, { sampler: [greedy()], maxTokens: 40 }),
    generated(other, { sampler: [topK(6), contrastiveSearch({ k: 6 })], maxTokens: 20 }),
    generated(other, { sampler: [contrastiveSearch({ k: 1 })], maxTokens: 40 }),
  ]);
  assert.equal(beside[0].steps, alone.steps);
  assert.equal(beside[3].steps, beside[1].steps);
  // One candidate of several that a stage left needs no look ahead.
  const only = customStage("only", ({ logits }) => {
    const best = logits.indexOf(Math.max(...logits));
    for (const i of logits.keys()) if (i !== best) logits[i] = -Infinity;
  });
  const mixed = await generated(other, { sampler: [only, ...sampler], maxTokens: 40 });
  assert.equal(mixed.steps, beside[1].steps);
  assert.is(mixed.tokens.length, 70);
});

search("it ends, is recorded, cancelled and continued as any generation", async () => {
  using model = await load();
  const sampler = [contrastiveSearch()];
  const plain = await generated(model, { sampler, maxTokens: 30 });
  const traced = await generated(model, { sampler, maxTokens: 30, trace: true, tape: true });
  assert.equal(traced.steps, plain.steps);
  const { trace, tape } = traced.generation;
  assert.is(trace?.stages[0]?.name, "contrastive-search=0.6:4");
  assert.equal(trace?.stages[0]?.left.candidates, new Uint32Array(30).fill(1));
  assert.equal(Array.from(tape?.tokens ?? []), plain.steps.map(({ token }) => token));
  using session = model.session({ context: 256 });
  const control = new AbortController();
  const { signal } = control;
  let seen = 0;
  const stopped = await rejection(async () => {
    for await (const _ of session.generate(prompt, { sampler, ignoreEnd: true, signal })) {
      if (++seen === 5) control.abort(new Error("enough"));
    }
  });
  assert.is(stopped.message, "enough");
  assert.equal(Array.from(session.tokens), plain.tokens.slice(0, 35));
  await session.generate("", { sampler: [greedy()], maxTokens: 3 }).text();
  using short = model.session({ context: 36 });
  const full = short.generate(prompt, { sampler, ignoreEnd: true });
  await full.text();
  assert.is(full.stopReason, "context");
  assert.equal(Array.from(short.tokens), plain.tokens.slice(0, 36));
});

search("misuse is named", async () => {
  using model = await load();
  using session = model.session({ context: 256 });
  const sampler = [contrastiveSearch()];
  const refused = async (options: GenerateOptions, words: RegExp) => {
    const run = () => session.generate(prompt, { sampler, maxTokens: 3, ...options }).text();
    assert.match((await rejection(run)).message, words);
  };
  await refused({ draft: ngramDraft() }, /look ahead in, found one with drafts/);
  await refused({ promptLogprobs: true }, /found one that keeps prompt_logprobs/);
  using other = model.session({ context: 64 });
  await other.prefill([3]);
  await refused({ sampler: [guidance(other, 2), ...sampler] }, /found one with guidance/);
  {
    using _hooks = session.hooks({ "blocks.0.attn_out": () => {} });
    await refused({}, /found a session with hooks/);
  }
  {
    using exact = model.session({ context: 64, kv: { sinks: 2, exact: "f32" } });
    const run = () => exact.generate(prompt, { sampler, maxTokens: 3 }).text();
    assert.match(
      (await rejection(run)).message,
      /found a session that keeps tokens at full precision/,
    );
    // It can be used without.
    assert.ok((await exact.generate(prompt, { maxTokens: 3, ignoreEnd: true }).text()).length > 0);
  }
  await session.prefill([3, 4]);
  await refused({}, /an empty session for contrastive_search, .*found one of 2 tokens/);
  const logits = Float32Array.of(1, 2, 3);
  const drawn = await rejection(() => sampleLogits(logits, { sampler, seed: 1 }));
  assert.match(drawn.message, /contrastive_search\): expected a session that evaluates/);
  assert.throws(() => contrastiveSearch({ alpha: 2 }), /alpha of contrastiveSearch/);
  assert.throws(() => contrastiveSearch({ k: 33 }), /k of contrastiveSearch/);
  assert.equal(parseSampler("contrastive-search=0.5:8"), [contrastiveSearch({ alpha: 0.5, k: 8 })]);
});
search.run();
