/** Forks of a session: the same state, shared pages, independence, and what goes wrong. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError, greedy, loadModel, type Session, temperature } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 4096 });
const load = () => loadModel(path, { threads: 1 });
const prompt = Array.from({ length: 300 }, (_, i) => 3 + (i * 7) % 250);

/** What `body` throws, as `code: message`. */
function thrown(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    return String(error);
  }
  throw new Error("Expected an error, but found a result");
}

const drawn = (session: Session, seed: number) =>
  session.generate("", { sampler: [temperature(2)], seed, maxTokens: 20, ignoreEnd: true }).text();

const forks = suite("forks");

forks("go on as their parent would have", async () => {
  using model = await load();
  using parent = model.session({ context: 400 });
  await parent.prefill(prompt);
  const alone: string[] = [];
  for (let seed = 0; seed < 6; seed++) {
    using session = model.session({ context: 400 });
    await session.prefill(prompt);
    alone.push(await drawn(session, seed));
  }
  assert.ok(new Set(alone).size > 1);
  using branches = parent.fork(6);
  assert.is(branches.length, 6);
  for (const branch of branches) {
    assert.equal(branch.tokens, parent.tokens);
    assert.equal(branch.logits(), parent.logits());
    assert.is(branch.context, 400);
  }
  assert.equal(await Promise.all(branches.map(drawn)), alone);
  assert.is(parent.position, prompt.length);
  assert.is(await drawn(parent, 2), alone[2]);
});

forks("share pages until they write", async () => {
  using model = await load();
  using parent = model.session({ context: 512 });
  await parent.prefill(prompt);
  const { length, bytes, max, used, shared } = parent.kv.pages;
  assert.equal({ length, max, used, shared }, { length: 64, max: 8, used: 5, shared: 0 });
  assert.is(bytes * max, parent.kv.bytes);
  {
    using child = parent.fork();
    assert.is(parent.kv.pages.shared, 5);
    await child.step({ sampler: [greedy()] });
    // A sampled token is evaluated, and so stored, by the next request.
    assert.is(child.kv.pages.shared, 5);
    await child.step({ sampler: [greedy()] });
    assert.is(child.kv.pages.used, 5);
    assert.is(child.kv.pages.shared, 4);
    child.truncate(64);
    assert.is(child.kv.pages.used, 1);
    assert.is(parent.kv.pages.shared, 1);
  }
  assert.is(parent.kv.pages.shared, 0);
});

forks(
  "64 continuations of 512 tokens take the prompt's pages once, and those that they add",
  async () => {
    using model = await load();
    const long = Array.from({ length: 512 }, (_, i) => 3 + (i * 7) % 250);
    using pool = model.kvPool({ pages: 200 });
    using parent = pool.session({ context: 1024 });
    await parent.prefill(long);
    assert.is(pool.stats.used, 8);
    using branches = parent.fork(64);
    assert.is(pool.stats.used, 8);
    await Promise.all(branches.map(drawn));
    // Up to 20 tokens of each are a page that nobody else has.
    const { used, pageLength } = pool.stats;
    const added = 64 * Math.ceil(20 / pageLength);
    assert.ok(used <= 1.1 * (512 / pageLength + added), `${used} pages`);
    assert.is(parent.kv.pages.shared, 8);
  },
);

forks("outlive their parent, and their model's handle", async () => {
  const model = await load();
  const parent = model.session();
  await parent.prefill(prompt);
  const logits = parent.logits();
  const child = parent.fork();
  parent.dispose();
  using grandchild = child.fork();
  child.dispose();
  assert.equal(grandchild.logits(), logits);
  await grandchild.step({ sampler: [greedy()] });
  model.dispose();
});

forks("are refused with the reason", async () => {
  using model = await load();
  using session = model.session();
  await session.prefill("the head");
  for (const count of [0, -1, 1.5, 4096, NaN]) {
    assert.match(thrown(() => session.fork(count)), /count to be a whole number from 1 to 4095/);
  }
  // Handles are the scarcest thing: all or none.
  assert.match(thrown(() => session.fork(4095)), /^too-many-handles: /);
  const running = session.generate("", { maxTokens: 5, ignoreEnd: true });
  await running.next();
  assert.match(thrown(() => session.fork()), /^busy: /);
  for await (const _ of running);
  using child = session.fork();
  child.dispose();
  assert.match(thrown(() => child.fork()), /^disposed: /);
  assert.match(thrown(() => child.kv.pages), /^disposed: /);
});

forks.run();
