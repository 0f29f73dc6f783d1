/** Events of pages, and pools with a limit: sharing by content, and what a full pool does. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  greedy,
  type KvEvents,
  loadModel,
  type Model,
  type Session,
  temperature,
} from "../mod.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 4096 });
const load = () => loadModel(path, { threads: 2 });
const text = Array.from({ length: 700 }, (_, i) => 3 + (i * i + 7 * i) % 250);

/** What `body` throws, as `code: message`. */
async function thrown(body: () => unknown): Promise<string> {
  try {
    await body();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    return String(error);
  }
  throw new Error("Expected an error, but found a result");
}

const drawn = (session: Session, prompt: number[] = [], maxTokens = 20) =>
  session.generate(prompt, { sampler: [temperature(2)], seed: 3, maxTokens, ignoreEnd: true })
    .text();

/** What a session with a cache of its own says and has then. */
async function alone(model: Model, prompt: number[], maxTokens = 20) {
  using session = model.session({ context: 1024 });
  const said = await drawn(session, prompt, maxTokens);
  return { said, logits: session.logits() };
}

const rows = (events: KvEvents) => {
  const { count, kind, page, sequence, from, to } = events.read();
  return Array.from(
    { length: count },
    (_, i) => `${kind[i]} ${page[i]} by ${sequence[i]} for ${from[i]}-${to[i]}`,
  );
};

const pool = suite("pools and events");

pool("fork, append and truncate leave the events that they are made of", async () => {
  using model = await load();
  using parent = model.session({ context: 256 });
  const events = parent.kv.events();
  await parent.prefill(text.slice(0, 100));
  assert.is(parent.kv.sequence, 0);
  assert.equal(rows(events), ["taken 0 by 0 for 0-64", "taken 1 by 0 for 64-128"]);
  const child = parent.fork();
  assert.is(child.kv.sequence, 1);
  assert.equal(rows(events), ["shared 0 by 1 for 0-64", "shared 1 by 1 for 64-128"]);
  await child.prefill([5]);
  // The pool of a family has a segment of pages for each of its members.
  assert.equal(rows(events), ["copied 2 by 1 for 64-128", "released 1 by 1 for 64-128"]);
  await parent.prefill([6]);
  assert.equal(rows(events), []);
  child.truncate(64);
  assert.equal(rows(events), ["freed 2 by 1 for 64-128"]);
  child.dispose();
  assert.equal(rows(events), ["released 0 by 1 for 0-64"]);
  parent.truncate(0);
  const { kind, seconds, dropped } = events.read();
  assert.equal(kind, ["freed", "freed"]);
  assert.is(dropped, 0);
  assert.ok(seconds[0]! > 0 && seconds[1]! >= seconds[0]!);
  events.dispose();
  events.dispose();
  assert.match(await thrown(() => events.read()), /^RangeError: Expected a reader of events/);
});

pool("a reader that is slow knows what it has missed", async () => {
  using model = await load();
  using session = model.session({ context: 512 });
  using events = session.kv.events({ capacity: 3 });
  await session.prefill(text.slice(0, 320));
  const running = session.generate([], { maxTokens: 30, ignoreEnd: true, sampler: [greedy()] });
  // The second token is that of a step, which takes a page.
  for (let i = 0; i < 2; i++) await running.next();
  assert.equal(rows(events).length, 3); // While it runs.
  await running.text();
  session.truncate(64);
  const { count, dropped, from } = events.read(2);
  assert.equal([count, dropped, Array.from(from)], [2, 2, [192, 128]]);
  assert.equal(events.read().count, 1);
  for (const capacity of [0, 1.5, NaN, 1 << 21]) {
    assert.match(await thrown(() => session.kv.events({ capacity })), /capacity to be a whole/);
  }
  assert.match(await thrown(() => session.kv.events()), /^busy: /);
  assert.match(await thrown(() => session.kv.events({ size: 3 } as never)), /"size"/);
});

pool("readers end with their session", async () => {
  using model = await load();
  const session = model.session({ context: 64 });
  using fork = session.fork();
  const events = session.kv.events();
  session.dispose();
  assert.match(await thrown(() => events.read()), /^disposed: /);
  using others = fork.kv.events();
  await fork.prefill([4]);
  assert.is(others.read().count, 1);
  events.dispose();
  await fork.prefill([4]);
  fork.truncate(0);
  assert.is(others.read().count, 1);
});

pool("sessions share what begins alike, and say what they would have said alone", async () => {
  using model = await load();
  const prompts = [0, 1, 2].map((i) => [...text.slice(0, 300), 4 + i, ...text.slice(300, 320)]);
  const expected = [];
  for (const prompt of prompts) expected.push(await alone(model, prompt));
  using shared = model.kvPool({ pages: 40 });
  using events = shared.events();
  assert.is(shared.bytes, shared.stats.pageBytes * 40);
  const sessions = prompts.map(() => shared.session({ context: 1024 }));
  for (const [i, session] of sessions.entries()) {
    assert.is(await drawn(session, prompts[i]), expected[i]!.said);
    assert.equal(session.logits(), expected[i]!.logits);
    assert.is(session.stats.reusedTokens, i === 0 ? 0 : 256);
  }
  const stats = shared.stats;
  assert.equal([stats.used, stats.shared, stats.hits, stats.sequences], [4 + 3 * 2, 4, 8, 3]);
  assert.is(stats.used + stats.free, stats.pages);
  // The parts of each ledger add up, and the pages of all to those of the pool.
  for (const { kv } of sessions) {
    const { keyPayload, keyScales, valuePayload, valueScales, pageSlack, free } = kv.ledger();
    const sum = keyPayload + keyScales + valuePayload + valueScales + pageSlack + free;
    assert.is(sum, kv.bytes);
  }
  const held = sessions.reduce((sum, { kv }) => sum + kv.pages.used, 0);
  assert.is(held - 2 * stats.shared, stats.used);
  // Each of them can be read, forked and saved as any session.
  using fork = sessions[2]!.fork();
  assert.equal(
    fork.kv.read({ which: "key", layer: 0 }),
    sessions[2]!.kv.read({ which: "key", layer: 0 }),
  );
  const kinds = events.read().kind;
  assert.is(kinds.filter((kind) => kind === "shared").length, 8 + 6);
  fork.dispose();
  for (const session of sessions) session.dispose();
  assert.equal([shared.stats.used, shared.stats.sequences], [0, 0]);
  assert.ok(shared.stats.kept >= 4);
  // Kept, though nobody holds it.
  using late = shared.session({ context: 1024 });
  assert.is(await drawn(late, prompts[1]), expected[1]!.said);
  assert.is(late.stats.reusedTokens, 320);
  assert.ok(events.read().kind.includes("reused"));
});

pool("who watches or changes activations neither takes nor offers pages", async () => {
  using model = await load();
  using shared = model.kvPool({ pages: 20 });
  const expected = await alone(model, text.slice(0, 200));
  using simulated = shared.session();
  using _simulation = simulated.simulateKv({ key: { bits: 2 } });
  await simulated.prefill(text.slice(0, 200));
  using plain = shared.session();
  assert.is(await drawn(plain, text.slice(0, 200)), expected.said);
  assert.is(plain.stats.reusedTokens, 0);
  using watching = shared.session();
  using recording = watching.record(["blocks.0.k"]);
  await watching.prefill(text.slice(0, 200));
  const { values, width } = recording.get("blocks.0.k");
  assert.is(values.length / width, 200);
  using scoring = shared.session();
  const scores = await scoring.score(text.slice(0, 200));
  assert.is(scores.filter(Number.isNaN).length, 1);
});

pool("a full pool is an error that loses nothing", async () => {
  using model = await load();
  using shared = model.kvPool({ pages: 4, kv: { key: "f8_e4m3", value: "f32" } });
  using one = shared.session();
  await one.prefill(text.slice(0, 100));
  const [logits, tokens] = [one.logits(), one.tokens];
  using other = shared.session();
  assert.match(
    await thrown(() => other.prefill(text.slice(100, 400))),
    /^pool-full: expected a free page for the request, found the pool's 4 pages in use; /,
  );
  assert.is(other.position, 0);
  assert.match(await thrown(() => one.generate(text.slice(100, 400)).text()), /^pool-full: /);
  assert.equal([one.tokens, one.logits()], [tokens, logits]);
  // What it has said stays.
  await other.prefill(text.slice(100, 200));
  const steps: number[] = [];
  const error = await thrown(async () => {
    for await (const step of one.generate([], { maxTokens: 99, ignoreEnd: true })) {
      steps.push(step.token);
    }
  });
  assert.match(error, /^pool-full: /);
  assert.is(steps.length, 29);
  assert.equal(Array.from(one.tokens), [...tokens, ...steps]);
  other.dispose();
  await one.step();
  assert.is(one.position, 130);
});

pool("a full pool takes the pages of whoever was idle longest", async () => {
  using model = await load();
  using shared = model.kvPool({ pages: 5, whenFull: "evict" });
  using events = shared.events();
  using one = shared.session();
  const first = await drawn(one, text.slice(0, 130));
  using two = shared.session();
  const second = await drawn(two, text.slice(200, 400));
  assert.is(first, (await alone(model, text.slice(0, 130))).said);
  assert.is(second, (await alone(model, text.slice(200, 400))).said);
  const { kind, sequence } = events.read();
  assert.ok(kind.some((name, i) => name === "evicted" && sequence[i] === one.kv.sequence));
  assert.is(one.position, 150);
  assert.match(
    await thrown(() => one.kv.read({ which: "key", layer: 0 })),
    /^not-ready: expected keys and values of 149 tokens/,
  );
  const again = await drawn(one, [9, 8]);
  assert.ok(one.stats.reevaluatedTokens > 0);
  using own = model.session({ context: 1024 });
  await drawn(own, text.slice(0, 130));
  assert.is(again, await drawn(own, [9, 8]));
  assert.equal(one.logits(), own.logits());
  // Saved with what it has lost.
  await drawn(two, [7]);
  const file = temporaryPath("evicted.session");
  await one.save(file);
  using restored = await model.restore(file);
  assert.equal(restored.logits(), own.logits());
  assert.match(await thrown(() => one.restore(file)), /^foreign: /);
});

pool("whoever waits goes on when pages come free, or is cancelled", async () => {
  using model = await load();
  using shared = model.kvPool({ pages: 4, whenFull: "wait" });
  using holder = shared.session();
  await holder.prefill(text.slice(0, 200));
  using cancelled = shared.session();
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("enough")), 30);
  assert.is(
    await thrown(() => cancelled.prefill(text.slice(300, 400), { signal: abort.signal })),
    "Error: enough",
  );
  assert.is(cancelled.position, 0);
  using waiter = shared.session();
  const saying = drawn(waiter, text.slice(300, 400));
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  for (let i = 0; i < 10_000 && waiter.stats.waits === 0; i++) await sleep(1);
  await sleep(20);
  holder.truncate(64);
  assert.is(await saying, (await alone(model, text.slice(300, 400))).said);
  assert.is(waiter.stats.waits, 1);
  assert.ok(waiter.stats.waitMs > 5);
  // Nobody else has pages that could come free.
  holder.truncate(0);
  assert.match(await thrown(() => waiter.prefill(text.slice(0, 400))), /^pool-full: /);
});

pool("pools are refused with the reason, and outlive their handle", async () => {
  const model = await load();
  for (const pages of [0, -1, 1.5, NaN, 2 ** 25]) {
    assert.match(await thrown(() => model.kvPool({ pages })), /pages to be a whole number/);
  }
  assert.match(await thrown(() => model.kvPool({ bytes: 100 })), /at least a page of/);
  assert.match(await thrown(() => model.kvPool({})), /either pages or bytes of a pool/);
  assert.match(await thrown(() => model.kvPool({ pages: 1, bytes: 1e9 })), /found both/);
  assert.match(
    await thrown(() => model.kvPool({ pages: 1, whenFull: "panic" as never })),
    /error, wait, evict/,
  );
  assert.match(await thrown(() => model.kvPool({ pages: 1, size: 1 } as never)), /"size"/);
  const pool = model.kvPool({ bytes: 1e6 });
  assert.match(await thrown(() => pool.session({ kv: {} } as never)), /"kv"/);
  assert.ok(pool.bytes <= 1e6 && pool.bytes > 1e6 - pool.stats.pageBytes);
  using session = pool.session();
  pool.dispose();
  pool.dispose();
  model.dispose();
  assert.match(await thrown(() => pool.stats), /^disposed: /);
  assert.match(await thrown(() => pool.session()), /^disposed: /);
  await session.prefill(text.slice(0, 10));
});

pool.run();
