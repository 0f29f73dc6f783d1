/** What is told of each token: of the prompt, of those that are generated, and views of all logits. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EngineError, loadModel, type LogitsView, temperature } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const load = () => loadModel(path, { threads: 2 });
const prompt = Array.from({ length: 30 }, (_, i) => 3 + (i * 7) % 250);

/** Log-probabilities of a row, in f64. */
function logprobs(logits: Float32Array): Float64Array {
  const max = logits.reduce((a, b) => Math.max(a, b));
  const mass = logits.reduce((sum, x) => sum + Math.exp(x - max), 0);
  return Float64Array.from(logits, (x) => x - max - Math.log(mass));
}

const told = suite("logits");

told("tokens of a prompt and of its continuation, in one request", async () => {
  using model = await load();
  using other = model.session();
  const scores = await other.score(prompt, { allLogits: true });
  using session = model.session();
  const generation = session.generate(prompt, {
    promptLogprobs: true,
    topLogprobs: 3,
    entropy: true,
    sampler: [temperature(1)],
    seed: 1,
    maxTokens: 2,
    ignoreEnd: true,
  });
  const first = await generation.next();
  const found = generation.prompt ?? [];
  assert.equal(found.map(({ token }) => token), prompt);
  assert.equal(found.map(({ position }) => position), prompt.map((_, i) => i));
  assert.equal(found[0], { token: 3, position: 0, logprob: NaN, entropy: NaN, top: [] });
  for (let i = 1; i < prompt.length; i++) {
    const { logprob, entropy, top } = found[i]!;
    assert.is(logprob, scores[i]);
    const row = logprobs(other.logits(i - 1));
    const exact = -row.reduce((sum, p) => sum + Math.exp(p) * p, 0);
    assert.ok(Math.abs(entropy - exact) < 1e-4, `${entropy}, ${exact}`);
    const order = [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b);
    assert.equal(top.map(({ token }) => token), order.slice(0, 3));
    for (const { token, logprob } of top) assert.ok(Math.abs(logprob - row[token]!) < 1e-5);
  }
  const row = logprobs(other.logits());
  assert.ok(Math.abs(first.value.logprob - row[first.value.token]!) < 1e-5);
  assert.is(first.value.top.length, 3);
  await generation.text();
  // A second prompt of the session has predecessors, its first token too.
  const more = session.generate([9, 8], { promptLogprobs: true, maxTokens: 1 });
  await more.text();
  assert.equal(more.prompt?.map(({ position }) => position), [32, 33]);
  assert.ok(more.prompt?.every(({ logprob, entropy }) => logprob < 0 && Number.isNaN(entropy)));
  // A server's echo wants the prompt alone.
  const echo = session.generate([7, 6, 5], { promptLogprobs: true, topLogprobs: 2, maxTokens: 0 });
  assert.equal(await Array.fromAsync(echo), []);
  assert.is(echo.stopReason, "length");
  assert.equal(echo.prompt?.map(({ token, top }) => [token, top.length]), [[7, 2], [6, 2], [5, 2]]);
  assert.is(session.tokens.at(-1), 5);
  assert.throws(() => session.generate([9], { maxTokens: 0 }), /maxTokens .* from 1/);
  const none = session.generate([9], { maxTokens: 1 });
  await none.text();
  assert.is(none.prompt, undefined);
});

told(
  "the first token of a text prompt is predicted by nothing, of another session by all",
  async () => {
    using model = await load();
    using session = model.session({ shift: { keep: 2 }, context: 64 });
    const generation = session.generate(prompt, { promptLogprobs: true, maxTokens: 1 });
    try {
      await generation.text();
      assert.unreachable();
    } catch (error) {
      assert.is((error as EngineError).code, "invalid-argument");
      assert.match((error as Error).message, /without context shift for prompt_logprobs/);
    }
    await session.prefill(prompt);
    assert.is(session.position, prompt.length);
  },
);

told("a view is the logits, and ends with whatever changes the session", async () => {
  using model = await load();
  const session = model.session();
  await session.prefill(prompt);
  const changes: ((view: LogitsView) => unknown)[] = [
    () => session.step(),
    () => session.prefill([5]),
    () => session.truncate(session.position - 1),
    () => session.generate([5], { maxTokens: 2 }).text(),
    () => session.dispose(),
  ];
  for (const change of changes) {
    await session.prefill([7]);
    const view = session.logitsView();
    const kept = view.values;
    assert.equal(kept, session.logits());
    assert.is(session.logitsView().values, kept);
    using fork = session.fork();
    await fork.prefill([9]);
    assert.is(view.values, kept);
    await change(view);
    assert.throws(() => view.values, /a view of the session's logits as they are/);
    assert.is(kept.length, 0);
  }
  assert.throws(() => session.logitsView(), /disposed/);
  using empty = model.session();
  assert.throws(() => empty.logitsView(), /no logits/);
  using running = model.session();
  const generation = running.generate(prompt, { maxTokens: 50 });
  await generation.next();
  assert.throws(() => running.logitsView(), /idle session/);
  await generation.return();
  await running.prefill([6]);
  const view = running.logitsView();
  const saved = view.values.slice();
  running.generate(prompt, { maxTokens: 5 }); // Nothing begins before the first step is asked for.
  assert.equal(view.values, saved);
});
told.run();
