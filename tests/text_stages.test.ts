/** Stages that look at the text, follow what is chosen or have data: in sessions, forks, tapes and traces. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseArguments } from "../cli/arguments.ts";
import type { Command } from "../cli/command.ts";
import { samplerOf, samplingOptions } from "../cli/sampling.ts";
import {
  adaptiveP,
  customStage,
  dry,
  type EngineError,
  formatSampler,
  frequencyPenalty,
  loadModel,
  logitBias,
  minP,
  mirostat,
  mirostatV2,
  noRepeatNgram,
  parseSampler,
  presencePenalty,
  readTape,
  repetitionPenalty,
  sampleLogits,
  type SamplerStage,
  temperature,
  topK,
  topP,
} from "../mod.ts";
import { firstByteToken, tinyModel, vocabularySize } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const prompt = Array.from({ length: 20 }, (_, i) => 3 + (i * 7) % 250);
const chains: Readonly<Record<string, readonly SamplerStage[]>> = {
  penalties: [
    repetitionPenalty(1.3, 16),
    presencePenalty(0.4),
    frequencyPenalty(0.3, Infinity),
    noRepeatNgram(2),
    logitBias([[7, 4], [9, -Infinity], [11, -2]]),
    topK(40),
  ],
  dry: [temperature(0.6), dry({ multiplier: 2, allowedLength: 1, breakers: ["a", "\n"] })],
  mirostat: [mirostat(4), topP(0.99)],
  "mirostat 2": [temperature(1.1), mirostatV2(3, 0.5)],
  "adaptive-p": [minP(0.01), repetitionPenalty(1.2), adaptiveP(0.1, 0.8)],
};
const folder = mkdtempSync(join(tmpdir(), "vitrine-stages-"));

const sessions = suite("stages with memory in sessions");
sessions.after(() => rmSync(folder, { recursive: true, force: true }));

sessions("every text before counts: prompt, earlier requests, drawn tokens", async () => {
  using model = await loadModel(path);
  using session = model.session();
  const options = { sampler: [noRepeatNgram(1)], seed: 3, maxTokens: 30, ignoreEnd: true };
  await session.prefill(prompt.slice(0, 8));
  await session.generate(prompt.slice(8), options).text();
  await session.generate([], options).text();
  // Behind a cut, the token before it is evaluated again.
  session.truncate(session.position - 3);
  await session.generate([], options).text();
  const tokens = Array.from(session.tokens);
  assert.is(tokens.length, 20 + 30 + 30 - 3 + 30);
  assert.is(new Set(tokens).size, tokens.length);
});

sessions("a shift of the context takes nothing from the text", async () => {
  using model = await loadModel(path);
  using session = model.session({ context: 32, shift: { keep: 4 } });
  const options = { sampler: [noRepeatNgram(1)], seed: 3, maxTokens: 120, ignoreEnd: true };
  const tokens = [
    ...prompt,
    ...await Array.fromAsync(session.generate(prompt, options), ({ token }) => token),
  ];
  assert.is(tokens.length, 140);
  for (const [i, token] of tokens.entries()) {
    const before = tokens.slice(Math.max(0, i - 32), i);
    assert.not.ok(before.includes(token), `${i}`);
  }
});

sessions("one chain gives one text: threads, pieces, forks, many samples", async () => {
  for (const [name, sampler] of Object.entries(chains)) {
    const options = { sampler, maxTokens: 24, ignoreEnd: true };
    const texts: number[][] = [];
    for (const threads of [1, 2]) {
      using model = await loadModel(path, { threads });
      using session = model.session();
      const seeds = [5, 6, 7];
      const samples = await session.sampleMany(prompt, { ...options, n: 3, seed: 5 }).collect();
      for (const [i, seed] of seeds.entries()) {
        using alone = model.session({ chunk: 1 + i });
        const steps = alone.generate(prompt, { ...options, seed });
        const tokens = await Array.fromAsync(steps, ({ token }) => token);
        const sample = samples.find((sample) => sample.seed === BigInt(seed));
        assert.equal(sample?.tokens, tokens, name);
        texts.push(tokens);
      }
      assert.is(samples[0]?.seed, 5n);
      // A fork that goes on where another one stands.
      await session.prefill(prompt.slice(0, -1));
      using branch = session.fork();
      const steps = branch.generate(prompt.slice(-1), { ...options, seed: 5 });
      assert.equal(await Array.fromAsync(steps, ({ token }) => token), texts[0], name);
    }
    assert.equal(texts.slice(0, 3), texts.slice(3), name);
    assert.is.not(texts[0]?.join(), texts[1]?.join());
  }
});

sessions("a tape replays every chain, and a file of it too", async () => {
  using model = await loadModel(path);
  for (const [name, sampler] of Object.entries(chains)) {
    using session = model.session();
    await session.prefill(prompt.slice(0, 10));
    const generation = session.generate(prompt.slice(10), {
      ...{ sampler, seed: 8, maxTokens: 40, ignoreEnd: true },
      tape: true,
      trace: { candidates: 4 },
    });
    await generation.text();
    const { tape, trace } = generation;
    assert.ok(tape && trace);
    assert.equal(tape.header.history, prompt);
    tape.save(join(folder, "tape"));
    for (const one of [tape, readTape(join(folder, "tape"))]) {
      const { differences } = await one.replay({ model });
      assert.equal(differences, [], name);
    }
    // The distribution of any step, alone.
    for (const step of [0, 17, 39]) {
      const shares = await tape.distribution(sampler, step, { model });
      const last = trace.stages.at(-1)!.left;
      const best = last.topTokens[4 * step]!;
      assert.ok(Math.abs(shares[best]! - last.topProbabilities[4 * step]!) < 1e-5, name);
      assert.is(shares.filter((p) => p > 0).length, last.candidates[step], name);
    }
    const [first, ...others] = await tape.orderAblation(sampler.slice(0, 3), { model });
    assert.is(first?.differs, 0);
    assert.is(others.length, sampler.length > 2 ? 5 : 1);
  }
});

sessions("stages that must know texts are refused without a model, and say what for", async () => {
  using model = await loadModel(path);
  const logits = new Float32Array(vocabularySize);
  const sampler = [temperature(1), dry()];
  const message = /stage 2 \(dry\): expected a model for the texts of its sequence breakers/;
  try {
    await sampleLogits(logits, { sampler });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, message);
  }
  // The text of the tiny model's byte tokens are the bytes.
  const [x, y, z] = [..."xyz"].map((letter) => firstByteToken + letter.charCodeAt(0));
  const colon = firstByteToken + ":".charCodeAt(0);
  logits[z!] = 40;
  logits[5] = 20;
  const strict = [dry({ multiplier: 30 })];
  const draw = async (history: (number | undefined)[]) => {
    const given = history as number[];
    return (await sampleLogits(logits, { sampler: strict, model, history: given }))[0];
  };
  assert.is(await draw([x, y, z, x, y]), 5);
  assert.is(await draw([x, colon, z, x, colon]), z);
  assert.is(await draw([]), z);
  const disposed = await loadModel(path);
  disposed[Symbol.dispose]();
  for (const wrong of [disposed, {} as never]) {
    try {
      await sampleLogits(logits, { sampler: strict, model: wrong });
      assert.unreachable();
    } catch (error) {
      assert.match(
        (error as Error).message,
        /Expected (a model that is still|model to be a) loaded/,
      );
    }
  }
});

sessions("a trace has μ and the surprise of each choice", async () => {
  using model = await loadModel(path);
  for (const stage of [mirostat(4, 0.3), mirostatV2(4, 0.3)]) {
    using session = model.session();
    const generation = session.generate(prompt, {
      ...{ sampler: [topK(200), stage], seed: 2, maxTokens: 40, ignoreEnd: true, trace: true },
    });
    const logprobs = await Array.fromAsync(generation, ({ logprob }) => logprob);
    const [first, second] = generation.trace!.stages;
    assert.ok(first!.state.every(Number.isNaN) && first!.outcome.every(Number.isNaN));
    const { state, outcome } = second!;
    assert.is(state[0], 8);
    for (const [i, surprise] of outcome.entries()) {
      assert.ok(Math.abs(surprise + logprobs[i]! / Math.LN2) < 1e-5);
      const next = state[i]! - 0.3 * (surprise - 4);
      if (i + 1 < state.length) assert.ok(Math.abs(state[i + 1]! - next) < 1e-4);
    }
  }
});

sessions("a trace of penalties shows what they change", async () => {
  using model = await loadModel(path);
  using session = model.session();
  const banned = Array.from({ length: 30 }, (_, i) => [i, -Infinity] as const);
  const generation = session.generate(prompt, {
    sampler: [logitBias(banned), frequencyPenalty(1)],
    ...{ seed: 2, maxTokens: 8, ignoreEnd: true, trace: { candidates: 3 } },
  });
  await generation.text();
  const { model: before, stages, token } = generation.trace!;
  const [ban, penalty] = stages;
  for (const step of token.keys()) {
    assert.is(before.candidates[step], vocabularySize);
    assert.is(ban!.left.candidates[step], vocabularySize - 30);
    assert.ok(ban!.left.mass[step]! < 1);
    assert.is(penalty!.left.candidates[step], vocabularySize - 30);
    assert.is.not(penalty!.left.entropy[step], ban!.left.entropy[step]);
    assert.ok(token[step]! >= 30);
  }
});

sessions("what fails names the stage, and the session can be used again", async () => {
  using model = await loadModel(path);
  using session = model.session();
  const everything = Array.from({ length: vocabularySize }, (_, i) => [i, false] as const);
  const failing: [SamplerStage[], RegExp][] = [
    [[topP(0.9), logitBias(everything)], /stage 2 \(logit_bias\): expected at least one token/],
    [
      [logitBias([[vocabularySize, 1]])],
      /stage 1 \(logit_bias\): expected tokens under \d+, found/,
    ],
    [[logitBias([[1, 3e38], [2, 3e38]]), logitBias([[1, 3e38]])], /\(logit_bias\): .* found inf/],
    [[topK(1), noRepeatNgram(1)], /stage 2 \(no_repeat_ngram\): expected at least one token/],
    [[{ name: "dry", params: dry().params, data: [""] }], /\(dry\): expected sequence breakers/],
    [[{ ...mirostat(), params: { ...mirostat().params, tau: -1 } }], /\(mirostat\): expected tau/],
  ];
  const good = { sampler: [temperature(0.5)], seed: 1, maxTokens: 4, ignoreEnd: true };
  using other = model.session();
  const expected = await other.generate(prompt, good).text();
  for (const [sampler, message] of failing) {
    try {
      await session.generate(prompt, { sampler, seed: 1, maxTokens: 60, ignoreEnd: true }).text();
      assert.unreachable(formatSampler(sampler));
    } catch (error) {
      assert.match((error as EngineError).message, message);
    }
    session.truncate(0);
    assert.is(await session.generate(prompt, good).text(), expected);
    session.truncate(0);
  }
});

sessions("a function of the host stands beside them", async () => {
  using model = await loadModel(path);
  using session = model.session();
  let seen = 0;
  const look = customStage("look", ({ logits }) => void (seen += logits.length));
  const options = { sampler: [noRepeatNgram(1), look], seed: 3, maxTokens: 4, ignoreEnd: true };
  await session.generate(prompt, options).text();
  // Without those of the text, one more at each step.
  const said = new Set(prompt).size;
  assert.is(seen, 4 * vocabularySize - (4 * said + 1 + 2 + 3));
});
sessions.run();

const notation = suite("stages with data");

notation("a stage with data is plain JSON, in the notation too", () => {
  const chain = [
    logitBias(new Map([[13, -2], [2, -Infinity]])),
    dry({ breakers: ["\n", "a,b=c:d;", '"', "[\\"] }),
    temperature(0.8),
  ];
  assert.equal(JSON.parse(JSON.stringify(chain)), chain);
  const text = formatSampler(chain);
  assert.is(
    text,
    'logit-bias=[[13,-2],[2,false]],dry=0.8:1.75:2:16777216:["\\n","a,b=c:d;","\\"","[\\\\"],temperature=0.8',
  );
  assert.equal(parseSampler(text), chain);
  assert.equal(parseSampler("dry"), [dry()]);
  assert.equal(parseSampler("dry=1:[]"), [dry({ multiplier: 1, breakers: [] })]);
  assert.equal(logitBias({ 13: -2, 2: -Infinity }).data, [[2, false], [13, -2]]);
});

notation("options of the command line are stages in their order", () => {
  const command = {
    ...{ name: "run", summary: "", usage: "", description: [], options: samplingOptions },
    ...{ positionals: [0, 0] as const, run: () => Promise.resolve(0) },
  };
  const given = parseArguments(command as unknown as Command, [
    ...["--dry", '0.5:1.5:3:64:["a,b"]', "--top-k", "40", "--repetition-penalty", "1.2"],
    ...["--logit-bias", "[[13,-2]]", "--presence-penalty", "-0.5:16", "--mirostat-v2", "3"],
  ]);
  assert.equal(samplerOf(given), [
    dry({ multiplier: 0.5, base: 1.5, allowedLength: 3, lastN: 64, breakers: ["a,b"] }),
    topK(40),
    repetitionPenalty(1.2),
    logitBias([[13, -2]]),
    presencePenalty(-0.5, 16),
    mirostatV2(3),
  ]);
});

notation("data that is none is refused", () => {
  const wrong: [() => unknown, RegExp][] = [
    [() => parseSampler("logit-bias"), /Expected logit-bias=\[\[TOKEN,BIAS\],…\], but found/],
    [() => parseSampler("logit-bias=[[1,2]"), /JSON after logit-bias=, but found "\[\[1,2\]"/],
    [() => parseSampler("logit-bias=[1]"), /a pair of a token and a number, but found 1/],
    [() => parseSampler("top-k=[1]"), /numbers after top-k=, but found "\[1\]"/],
    [() => parseSampler('dry=["",1]'), /breakers of dry to have characters, but found ""/],
    [() => parseSampler("dry=[1]"), /breakers of dry to be texts, but found 1/],
    [
      () => logitBias([[1, NaN]]),
      /bias of token 1 in logitBias to be finite or -Infinity, but found NaN/,
    ],
    [() => logitBias([[1, 0], [1, 2]]), /found two of token 1/],
    [() => logitBias([[-1, 0]]), /token of a bias of logitBias to be a whole number/],
    [() => logitBias(3 as never), /pairs of a token and a number, but found 3/],
    [
      () => repetitionPenalty(0),
      /penalty of repetitionPenalty to be from 0.01 to 100, but found 0/,
    ],
    [() => repetitionPenalty(1, 1.5), /lastN of repetitionPenalty to be a whole number/],
    [() => frequencyPenalty(1, -1), /lastN of frequencyPenalty/],
    [() => presencePenalty(NaN), /penalty of presencePenalty/],
    [() => noRepeatNgram(0), /n of noRepeatNgram/],
    [() => dry({ base: 0.5 }), /base of dry to be from 1 to 1000/],
    [() => dry({ allowedLength: 0 }), /allowedLength of dry/],
    [() => dry({ length: 1 } as never), /an option of dry \(multiplier, .*but found "length"/],
    [() => mirostat(-1), /tau of mirostat/],
    [() => mirostat(5, 0.1, 10, 1), /m of mirostat/],
    [() => mirostatV2(5, 11), /eta of mirostatV2/],
    [() => adaptiveP(2), /target of adaptiveP/],
    [() => adaptiveP(0.5, 1), /decay of adaptiveP/],
    [
      () => formatSampler([{ name: "top_p", params: { p: 1 }, data: "x" }]),
      /Expected top_p without data, but found "x"/,
    ],
    [
      () => formatSampler([{ name: "dry", params: dry().params, data: "x" }]),
      /data of dry to be an array of texts, but found "x"/,
    ],
    [
      () => formatSampler([{ name: "logit_bias", params: {}, data: [[1, Infinity]] }]),
      /token 1 of logit_bias to have a finite number or false, but found Infinity/,
    ],
  ];
  for (const [call, message] of wrong) {
    assert.throws(call, (error: unknown) => {
      const known = error instanceof RangeError || error instanceof TypeError;
      return known && message.test(error.message);
    }, String(message));
  }
});

notation("draws without a session count the text that they are given", async () => {
  const logits = Float32Array.of(0, 20, 10, 19);
  const draw = async (stage: SamplerStage, history: number[], count = 1) =>
    Array.from(await sampleLogits(logits, { sampler: [stage], history, count, seed: 1 }));
  assert.equal(await draw(presencePenalty(15), [1, 1]), [3]);
  assert.equal(await draw(frequencyPenalty(15), [1, 3, 3]), [2]);
  assert.equal(await draw(repetitionPenalty(4), [1, 3]), [2]);
  assert.equal(await draw(repetitionPenalty(4, 1), [1, 3]), [1]);
  // What is drawn becomes part of the text.
  assert.equal((await draw(noRepeatNgram(1), [0], 3)).sort(), [1, 2, 3]);
  assert.equal(await draw(dry({ multiplier: 30, breakers: [] }), [0, 0, 1, 0, 0]), [3]);
  try {
    await draw(noRepeatNgram(1), [4]);
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /the history\[0\] to be a whole number from 0 to 3/);
  }
});
notation.run();
