/** Traces: what stages received and left, against sums over the logits; what is kept, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type EngineError,
  type GenerateOptions,
  loadModel,
  minP,
  temperature,
  topK,
  topP,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const load = () => loadModel(path, { threads: 2 });
const prompt = Array.from({ length: 20 }, (_, i) => 3 + (i * 7) % 250);
const sampler = [temperature(0.7), topP(0.8), topK(9)];
const settings = { sampler, seed: 5, maxTokens: 16, ignoreEnd: true } satisfies GenerateOptions;

function near(found: number, expected: number, bound: number, what: string): void {
  assert.ok(Math.abs(found - expected) <= bound, `${what}: expected ${expected}, found ${found}`);
}

const traces = suite("trace");

traces("columns say what sums over the logits say", async () => {
  using model = await load();
  using session = model.session();
  const options = { ...settings, entropy: true, trace: { candidates: 12 }, tape: true };
  const generation = session.generate(prompt, options);
  assert.is(generation.trace, undefined);
  const steps = await Array.fromAsync(generation);
  const { trace, tape } = generation;
  assert.ok(trace !== undefined && tape !== undefined);
  assert.is(trace.steps, 16);
  assert.is(trace.dropped, 0);
  assert.is(trace.depth, 12);
  assert.equal(trace.stages.map(({ name }) => name), ["temperature=0.7", "top-p=0.8", "top-k=9"]);
  assert.equal(Array.from(trace.token), steps.map(({ token }) => token));
  assert.equal(Array.from(trace.position), steps.map(({ position }) => position));
  assert.equal(Array.from(trace.logprob), steps.map(({ logprob }) => logprob));
  for (const [step, { token, entropy }] of steps.entries()) {
    const { logits } = tape.row(step);
    const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
    assert.is(trace.rank[step], order.indexOf(token));
    const shares = softmax(logits, 1);
    near(trace.model.entropy[step]!, entropyOf(shares), 1e-4, "entropy");
    near(entropy, entropyOf(shares), 1e-4, "entropy of the step");
    assert.is(trace.model.candidates[step], logits.length);
    assert.is(trace.model.mass[step], 1);
    const heated = softmax(logits, 0.7);
    const [heat, nucleus, top] = trace.stages;
    assert.ok(heat !== undefined && nucleus !== undefined && top !== undefined);
    assert.is(heat.received, trace.model);
    assert.is(nucleus.received, heat.left);
    near(heat.left.entropy[step]!, entropyOf(heated), 1e-4, "entropy at 0.7");
    near(heat.left.temperature[step]!, 0.7, 1e-6, "temperature");
    let [kept, mass] = [0, 0];
    while (mass < 0.8) mass += heated[order[kept++]!]!;
    assert.is(nucleus.left.candidates[step], kept);
    const last = order[Math.min(kept, 9) - 1]!;
    near(top.left.threshold[step]!, Math.log(shares[last]!), 1e-4, "threshold");
    const own = order.slice(0, Math.min(kept, 9)).reduce((sum, id) => sum + shares[id]!, 0);
    near(top.left.mass[step]!, own, 1e-5, "mass");
    const best = Array.from(top.left.topTokens.subarray(step * 12, (step + 1) * 12));
    assert.equal(best.slice(0, Math.min(kept, 9)), order.slice(0, Math.min(kept, 9)));
    assert.is(best[11], 0xffff_ffff);
    const place = step * 12 + best.indexOf(token);
    near(trace.probability[step]!, top.left.topProbabilities[place]!, 1e-6, "probability");
    assert.ok(Number.isNaN(top.state[step]));
    assert.ok(top.nanoseconds[step]! > 0);
  }
  const plain = JSON.parse(JSON.stringify(trace));
  assert.equal(plain.stages[1].left.candidates, Array.from(trace.stages[1]!.left.candidates));
});

function softmax(logits: Float32Array, temperature: number): Float64Array {
  const max = logits.reduce((a, b) => Math.max(a, b));
  const weights = Float64Array.from(logits, (x) => Math.exp((x - max) / temperature));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((x) => x / sum);
}

function entropyOf(shares: Float64Array): number {
  return shares.reduce((sum, p) => p > 0 ? sum - p * Math.log(p) : sum, 0);
}

traces("without records there are none, and tokens are the same with them", async () => {
  using model = await load();
  using plain = model.session();
  const generation = plain.generate(prompt, settings);
  const expected = await Array.fromAsync(generation, ({ token }) => token);
  assert.is(generation.trace, undefined);
  assert.is(generation.tape, undefined);
  using session = model.session();
  const traced = session.generate(prompt, { ...settings, trace: true, tape: { top: 7 } });
  const steps = await Array.fromAsync(traced);
  assert.equal(steps.map(({ token }) => token), expected);
  assert.ok(steps.every(({ entropy }) => Number.isNaN(entropy)));
  assert.is(traced.trace?.depth, 0);
  assert.is(traced.tape?.header.count, 7);
});

traces("only what was read is kept: stop strings, a loop that is left, room for few", async () => {
  using model = await load();
  using session = model.session();
  const left = session.generate(prompt, { ...settings, trace: true, tape: true });
  for await (const { position } of left) if (position === prompt.length + 4) break;
  assert.is(left.trace?.steps, 5);
  assert.is(left.trace?.dropped, 0);
  assert.is(left.tape?.steps, 5);
  session.truncate(0);
  const few = session.generate(prompt, {
    ...settings,
    trace: { steps: 3 },
    tape: { steps: 4, kind: "f16" },
  });
  await few.text();
  assert.is(few.trace?.steps, 3);
  assert.is(few.trace?.dropped, 13);
  assert.equal(few.trace?.token, left.trace?.token.slice(0, 3));
  assert.is(few.tape?.steps, 4);
  // A request without records drops the earlier one's, in the engine too.
  const none = session.generate("", { ...settings, maxTokens: 1 });
  await none.text();
  assert.is(none.trace, undefined);
  assert.is(few.trace?.steps, 3);
});

traces("what is out of range or too large is refused, and the session goes on", async () => {
  using model = await load();
  using session = model.session();
  const wrong: [GenerateOptions, RegExp][] = [
    [{ trace: { candidates: -1 } }, /trace.candidates to be a whole number from 0 to 4096/],
    [{ trace: { depth: 3 } as never }, /an option of trace \(candidates, steps\)/],
    [{ trace: 3 as never }, /the options of trace, but found 3/],
    [{ tape: { kind: "f64" as never } }, /tape.kind to be one of f32, f16, top/],
    [{ tape: { kind: "f16", top: 3 } }, /the kind top, but found the kind f16/],
    [{ tape: { steps: 0 } }, /tape.steps/],
    [{ entropy: 1 as never }, /entropy to be true or false/],
  ];
  for (const [options, text] of wrong) {
    assert.throws(() => session.generate(prompt, options), text);
  }
  assert.throws(() => session.sampleMany(prompt, { n: 2, trace: true } as never), /sampleMany/);
  const large = { ...settings, maxTokens: 1 << 24, trace: { candidates: 280, steps: 1 << 24 } };
  const error = await rejection(() => session.generate(prompt, large).text()) as EngineError;
  assert.is(error.code, "invalid-argument");
  assert.match(error.message, /trace of at most 1073741824 bytes/);
  const { trace } = await finished(session.generate(prompt, { ...settings, trace: true }));
  assert.is(trace?.steps, 16);
});

async function finished<T extends { text(): Promise<string> }>(generation: T): Promise<T> {
  await generation.text();
  return generation;
}

traces("a session that was disposed of keeps no trace", async () => {
  using model = await load();
  const session = model.session();
  const generation = session.generate(prompt, { ...settings, sampler: [minP(0.1)], trace: true });
  await generation.next();
  session.dispose();
  // What was taken before may still be read.
  await generation.text().catch((error: EngineError) => assert.is(error.code, "disposed"));
  assert.is(generation.trace, undefined);
});
traces.run();
