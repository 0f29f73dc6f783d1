/** Several continuations at once: the same as alone, as they come, and what goes wrong. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, type Session, temperature, topP } from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 4096 });
const load = () => loadModel(path, { threads: 2 });
const prompt = Array.from({ length: 150 }, (_, i) => 3 + (i * 7) % 250);
const settings = { sampler: [temperature(1.5), topP(0.95)], maxTokens: 12, ignoreEnd: true };

const samples = suite("sampleMany");

samples("each continuation is the one that generate gives alone", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const many = session.sampleMany(prompt, { ...settings, n: 20, seed: 0xffff_ffff_ffff_fffan });
  assert.equal(many.seeds.slice(4, 8), [2n ** 64n - 2n, 2n ** 64n - 1n, 0n, 1n]);
  const found = await many.collect();
  assert.is(found.length, 20);
  assert.is(session.position, 0);
  for (const { seed, text, tokens, logprobs, stopReason } of found) {
    using alone = model.session({ context: 400 });
    const steps = [];
    const generation = alone.generate(prompt, { ...settings, seed });
    for await (const step of generation) steps.push(step);
    assert.equal(tokens, steps.map((step) => step.token));
    assert.equal(logprobs, steps.map((step) => step.logprob));
    assert.is(text, steps.map((step) => step.text).join("") + await generation.text());
    assert.is(stopReason, "length");
  }
  assert.ok(new Set(found.map(({ tokens }) => tokens.join())).size > 15);
});

samples("they continue a session, and leave it as it is", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  await session.prefill(prompt);
  const [logits, { used }] = [session.logits(), session.kv.pages];
  const found = await session.sampleMany("", { ...settings, n: 3, seed: 5 }).collect();
  assert.is(session.position, prompt.length);
  assert.equal(session.logits(), logits);
  assert.equal(session.kv.pages.used, used);
  assert.is(session.kv.pages.shared, 0);
  const alone: number[] = [];
  for await (const step of session.generate("", { ...settings, seed: 6 })) alone.push(step.token);
  assert.equal(found[1]?.tokens, alone);
});

samples("steps come in rounds, not one continuation after the other", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const order: number[] = [];
  const many = session.sampleMany(prompt, { ...settings, n: 4, seed: 1 });
  for await (const { sample, position } of many) {
    order.push(sample);
    assert.is(position, prompt.length + order.filter((other) => other === sample).length - 1);
  }
  assert.equal(order, Array.from({ length: 4 * 12 }, (_, i) => i % 4));
  assert.equal(many.stopReasons, ["length", "length", "length", "length"]);
});

samples("stop strings end one without the others", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const whole = await session.sampleMany(prompt, { ...settings, n: 6, seed: 3 }).collect();
  const stop = [...(whole[0] as { text: string }).text].find((letter) => letter !== " ") as string;
  const cut = await session.sampleMany(prompt, { ...settings, n: 6, seed: 3, stop }).collect();
  assert.is(cut[0]?.stopReason, "stop");
  for (const [i, { text, stopReason }] of cut.entries()) {
    const full = (whole[i] as { text: string }).text;
    assert.is(text, full.includes(stop) ? full.slice(0, full.indexOf(stop)) : full);
    assert.is(stopReason, full.includes(stop) ? "stop" : "length");
  }
});

samples("leaving early stops them all and gives everything back", async () => {
  using model = await load();
  using session = model.session({ context: 4000 });
  await session.prefill(prompt);
  let seen = 0;
  const many = session.sampleMany("", { ...settings, maxTokens: 3000, n: 5, seed: 3 });
  for await (const _ of many) if (++seen === 7) break;
  assert.is(session.kv.pages.shared, 0);
  assert.equal(new Set(many.stopReasons), new Set(["aborted"]));
  assert.equal(await many.collect().then((rows) => rows.map((row) => row.tokens)), [
    [],
    [],
    [],
    [],
    [],
  ]);
  await session.step();
});

samples("a signal cancels them all, during the prefill too", async () => {
  using model = await load();
  using session = model.session({ context: 4000 });
  const control = new AbortController();
  const { signal } = control;
  const many = session.sampleMany(prompt, { ...settings, maxTokens: 3000, n: 3, signal });
  let seen = 0;
  const error = await rejection(async () => {
    for await (const _ of many) if (++seen === 9) control.abort(new Error("enough"));
  });
  assert.is(error.message, "enough");
  assert.ok(seen < 3 * 3000);
  const late = session.sampleMany(prompt, { ...settings, n: 3, signal });
  assert.is((await rejection(() => late.next())).message, "enough");
  assert.is(session.position, 0);
  await session.prefill(prompt);
});

samples("misuse is named", async () => {
  using model = await load();
  const session: Session = model.session({ context: 400 });
  for (const n of [0, -1, 1.5, 4001, NaN]) {
    const error = await rejection(() => session.sampleMany(prompt, { n }));
    assert.match(error.message, new RegExp(`n to be a whole number from 1 to 4000.* ${n}$`));
  }
  const wrong: [object, RegExp][] = [
    [{}, /n to be a number, but found undefined/],
    [{ n: 2, m: 3 }, /option of sampleMany .*"m"/],
    [{ n: 2, seed: -1 }, /seed/],
    [{ n: 2, maxTokens: 0 }, /maxTokens/],
  ];
  for (const [options, words] of wrong) {
    const error = await rejection(() => session.sampleMany(prompt, options as { n: number }));
    assert.match(error.message, words);
  }
  const none = await rejection(() => session.sampleMany([], { n: 2 }).next());
  const alone = await rejection(() => session.generate([]).next());
  assert.is(none.message, alone.message);
  const many = session.sampleMany(prompt, { ...settings, n: 2 });
  session.dispose();
  assert.match((await rejection(() => many.next())).message, /disposed/);
});
samples.run();
