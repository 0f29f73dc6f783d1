/**
 * The measures of texts, against values that other implementations gave; `tools/golden_measures.py`
 * makes them and says which.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bootstrapInterval,
  coherence,
  distinctN,
  entropy,
  frontierArea,
  loadModel,
  type Model,
  perplexity,
  philox,
  repetitionLoop,
  repetitionRate,
  sampleLogits,
  selfBleu,
  seqRep,
  tokenHistogram,
  uniform,
  vocabularyCoverage,
  zipfCoefficient,
} from "../mod.ts";
import { normalCdf, normalQuantile } from "../src/internal/normal.ts";
import { sentencesOf } from "../src/internal/sentences.ts";
import { tinyModel } from "./support/tiny_model.ts";

const folder = join(dirname(fileURLToPath(import.meta.url)), "golden");
const golden = JSON.parse(readFileSync(join(folder, "measures.json"), "utf8"));
const texts: number[][] = golden.texts;

/** Both do the same in f64, in different orders. */
function near(found: number, expected: number, bound = 1e-12): void {
  // Written so that a NaN fails.
  if (!(Math.abs(found - expected) <= bound * Math.max(1, Math.abs(expected)))) {
    assert.unreachable(`expected ${expected}, found ${found}`);
  }
}

const counting = suite("measures of token counts");

counting("entropy is scipy's", () => {
  for (const { weights, nats } of golden.entropy) near(entropy(weights), nats);
  for (const { logits, nats } of golden.entropy_of_logits) {
    near(entropy(logits, { logits: true }), nats);
    near(entropy([...logits, -Infinity], { logits: true }), nats);
  }
  near(entropy(Float32Array.of(3, 3, 3, 3)), Math.log(4));
});

counting("distinct-n counts n-grams of all texts together", () => {
  for (const { n, per_grams, per_tokens } of golden.distinct) {
    near(distinctN(texts, n), per_grams);
    near(distinctN(texts.map((text) => Uint32Array.from(text)), n, { per: "tokens" }), per_tokens);
  }
});

counting("self-BLEU is nltk's", () => {
  for (const { of, n, epsilon, score } of golden.self_bleu) {
    near(selfBleu(golden[of], { n, epsilon }), score);
  }
  assert.is(selfBleu([[1, 2], [3, 4]]), 0);
  near(selfBleu([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]), 1);
});

counting("Zipf's coefficient is scipy's slope", () => {
  for (const { ranks, s } of golden.zipf) near(zipfCoefficient(texts, { ranks }), s);
  assert.is(zipfCoefficient([[1, 2], [2, 1]]), 0);
});

counting("repetition of n-grams", () => {
  for (const { n, rate } of golden.repetition_rate) near(repetitionRate(texts, n), rate);
  for (const { n, rate } of golden.seq_rep) near(seqRep(texts, n), rate);
  near(seqRep(texts), golden.seq_rep.at(-1).rate);
});

counting("loops at the end", () => {
  for (const { phrase, times, found } of golden.loops) {
    assert.equal(texts.map((text) => repetitionLoop(text, { phrase, times }) ?? null), found);
  }
  // A phrase that is cut off is one that began elsewhere.
  assert.equal(repetitionLoop([..."xabcabcabca"]), { length: 3, times: 3, from: 2 });
  assert.equal(repetitionLoop([..."aaaaaa"]), { length: 2, times: 3, from: 0 });
  assert.is(repetitionLoop([..."aaaaa"]), undefined);
});

counting("coverage and histogram", () => {
  const { vocabulary, share } = golden.coverage;
  near(vocabularyCoverage(texts, vocabulary), share);
  const counts = tokenHistogram(texts, vocabulary);
  assert.is(counts.reduce((sum, count) => sum + count), texts.flat().length);
  assert.is(counts[7], texts.flat().filter((token) => token === 7).length);
});

counting("the divergence frontier is that of MAUVE's authors", () => {
  for (const { p, q, points, scale, smoothing, area, integral, curve } of golden.frontier) {
    const found = frontierArea(p, q, { points, scale, smoothing });
    near(found.area, area);
    // Theirs leaves bins out whose shares differ by less than 1e-8, and cancels near that.
    near(found.integral, integral, 1e-9);
    assert.is(found.curve.length, curve.length);
    for (const [i, value] of found.curve.entries()) near(value, curve[i]);
  }
  const same = frontierArea([1, 2, 3], [2, 4, 6]);
  near(same.area, 1);
  near(same.integral, 0);
});

counting("words and ids give the same", () => {
  const words = texts.map((text) => text.map((token) => `w${token}`));
  assert.is(distinctN(words, 3), distinctN(texts, 3));
  assert.is(selfBleu(words), selfBleu(texts));
  assert.is(zipfCoefficient(words), zipfCoefficient(texts));
  assert.is(repetitionRate(words, 2), repetitionRate(texts, 2));
  // A word isn't the number that it looks like.
  assert.is(distinctN([["1"], [1]], 1), 1);
});

/** What is thrown, by its kind and its words. */
function refused(call: () => unknown, kind: typeof TypeError | typeof RangeError, words: RegExp) {
  assert.throws(call, (error: unknown) => {
    assert.instance(error, kind);
    assert.match((error as Error).message, /^Expected .* but found /);
    assert.match((error as Error).message, words);
    return true;
  });
}

counting("bad input is named", () => {
  const all = [
    (input: number[][]) => distinctN(input, 2),
    (input: number[][]) => selfBleu(input),
    (input: number[][]) => zipfCoefficient(input),
    (input: number[][]) => repetitionRate(input, 2),
    (input: number[][]) => seqRep(input, 2),
    (input: number[][]) => tokenHistogram(input, 100),
    (input: number[][]) => vocabularyCoverage(input, 100),
  ];
  for (const measure of all) {
    refused(() => measure([]), RangeError, /texts to have at least \d, but found 0/);
    refused(() => measure("a text" as unknown as []), TypeError, /found "a text"/);
    refused(() => measure(["a", "b"] as unknown as []), TypeError, /texts\[0\].*found "a"/);
    refused(() => measure([[1, 2], [3, NaN]]), RangeError, /texts\[1\]\[1\].*found NaN/);
    refused(() => measure([[1, 2], [3, -1]]), RangeError, /found -1/);
    refused(() => measure([[1], [null as unknown as number]]), TypeError, /found null/);
  }
  for (const n of [0, -1, 1.5, NaN, 2000]) {
    for (const measure of [distinctN, repetitionRate, seqRep]) {
      refused(() => measure(texts, n), RangeError, new RegExp(`n to be .* found ${n}`));
    }
    refused(() => selfBleu(texts, { n }), RangeError, /found/);
  }
  refused(() => distinctN([[1], [2]], 2), RangeError, /at least 2 tokens, but found 1 /);
  refused(() => selfBleu([[1, 2]]), RangeError, /at least 2, but found 1/);
  refused(() => selfBleu(texts, { epsilon: 0 }), RangeError, /epsilon/);
  refused(() => zipfCoefficient([[1, 1]]), RangeError, /two different tokens/);
  refused(() => tokenHistogram([[5]], 5), RangeError, /from 0 to 4, but found 5/);
  refused(() => tokenHistogram([["a"]], 5), TypeError, /found "a"/);
  refused(() => repetitionLoop("abab" as unknown as []), TypeError, /text .* found "abab"/);
  refused(() => repetitionLoop([1, 1], { times: 1 }), RangeError, /times/);
  refused(() => repetitionLoop([1, 1], { time: 2 } as object), TypeError, /"time"/);
});

counting("bad distributions are named", () => {
  refused(() => entropy([]), RangeError, /found none/);
  refused(() => entropy([0, 0]), RangeError, /found none/);
  refused(() => entropy([1, -1]), RangeError, /weights\[1\].*found -1/);
  refused(() => entropy([NaN, 1]), RangeError, /found NaN/);
  refused(() => entropy([Infinity, 1]), RangeError, /found Infinity/);
  refused(() => entropy([-Infinity], { logits: true }), RangeError, /found none/);
  refused(() => entropy([NaN], { logits: true }), RangeError, /found NaN/);
  refused(() => entropy("1" as unknown as []), TypeError, /weights/);
  refused(() => entropy(["1"] as unknown as []), TypeError, /weights\[0\]/);
  refused(() => frontierArea([1, 2], [1]), RangeError, /found 2 and 1/);
  refused(() => frontierArea([0, 0], [1, 1]), RangeError, /p to have a sum/);
  refused(() => frontierArea([1, 1], [1, NaN]), RangeError, /q\[1\].*NaN/);
  refused(() => frontierArea([1, 1], [1, -1]), RangeError, /q\[1\].*-1/);
  refused(() => frontierArea([1], [1], { points: 1 }), RangeError, /points/);
  refused(() => frontierArea([1], [1], { scale: 0 }), RangeError, /scale/);
});
counting.run();

const drawing = suite("random numbers and the bootstrap");

drawing("Philox gives the vectors that its authors published", () => {
  const ones = 0xffff_ffff;
  const vectors: [number[], number[], number[]][] = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[ones, ones, ones, ones], [ones, ones], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ];
  for (const [counter, key, words] of vectors) {
    assert.equal([...philox(counter, Uint32Array.from(key))], words);
  }
  refused(() => philox([0, 0, 0], [0, 0]), RangeError, /counter .* found 3/);
  refused(() => philox([0, 0, 0, 0], [0, -1]), RangeError, /key\[1\].* found -1/);
  refused(() => philox("0000" as unknown as [], [0, 0]), TypeError, /counter/);
});

drawing("numbers are keyed by seed, sequence, position and draw", () => {
  for (const { key: [seed, sequence, position, draw], u } of golden.uniform) {
    assert.is(uniform({ seed: BigInt(seed), sequence, position, draw }), u);
  }
  assert.is(uniform(), uniform({ seed: 0n, sequence: 0, position: 0, draw: 0 }));
  refused(() => uniform({ seed: -1 }), RangeError, /seed/);
  refused(() => uniform({ position: 2 ** 53 }), RangeError, /position/);
  refused(() => uniform({ draw: 2 ** 32 }), RangeError, /draw/);
  refused(() => uniform({ place: 1 } as object), TypeError, /"place"/);
});

drawing("a token of the engine can be drawn again", async () => {
  const logits = Float32Array.from({ length: 500 }, (_, i) => 3 * Math.sin(i * i));
  const seed = 0xfedc_ba98_7654_3210n;
  const tokens = await sampleLogits(logits, { seed, count: 300 });
  const weights = [...logits].map(Math.exp);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  for (const [position, token] of tokens.entries()) {
    const target = uniform({ seed, position }) * total;
    let [sum, again] = [0, -1];
    while (sum <= target) sum += weights[++again] as number;
    assert.is(again, token, `position ${position}`);
  }
});

drawing("the normal distribution is scipy's", () => {
  for (const { x, p, quantile, of } of golden.normal) {
    assert.ok(Math.abs(normalCdf(x) / p - 1) < 1e-13, `${x}: ${normalCdf(x)}`);
    near(normalQuantile(of), quantile, 1e-13);
  }
});

drawing("intervals are scipy's", () => {
  const sum = (sample: readonly number[]) => sample.reduce((all, x) => all + x, 0);
  const statistics: Record<string, (sample: readonly number[]) => number> = {
    mean: (sample) => sum(sample) / sample.length,
    variance: (sample) => {
      const mean = sum(sample) / sample.length;
      return sum(sample.map((x) => (x - mean) ** 2)) / (sample.length - 1);
    },
    median: (sample) => {
      const sorted = sample.toSorted((a, b) => a - b);
      const middle = sorted.length / 2;
      return (sorted[Math.floor(middle - 0.5)]! + sorted[Math.floor(middle)]!) / 2;
    },
  };
  for (const { values, statistic, ...row } of golden.bootstrap) {
    const { method, confidence, resamples } = row;
    const options = { method, confidence, resamples, seed: BigInt(row.seed) };
    const found = bootstrapInterval(values, { ...options, statistic: statistics[statistic] });
    near(found.low, row.low, 1e-10);
    near(found.high, row.high, 1e-10);
    near(found.standardError, row.error, 1e-10);
    assert.is(found.method, method);
    if (statistic === "mean") assert.equal(bootstrapInterval(values, options), found);
  }
});

drawing("an interval covers the truth about as often as it says", () => {
  let covered = 0;
  for (let trial = 0; trial < 250; trial++) {
    // Exponential: skewed, with mean 1.
    const values = Array.from(
      { length: 25 },
      (_, i) => -Math.log(1 - uniform({ seed: 1000 + trial, position: i })),
    );
    const { low, high } = bootstrapInterval(values, { resamples: 300, seed: trial });
    if (low <= 1 && high >= 1) covered += 1;
  }
  // At 25 values BCa covers 92 to 93 of 100; five standard deviations of 250 trials are 8 more.
  assert.ok(covered > 0.84 * 250 && covered < 250, `${covered} of 250`);
});

drawing("what has no interval says so", () => {
  const same = bootstrapInterval([2, 2, 2]);
  assert.equal(same, { value: 2, low: 2, high: 2, standardError: 0, method: "percentile" });
  // All resamples have a smaller number of different values, or the same.
  const distinct = bootstrapInterval([..."abcdefgh"], { statistic: (s) => new Set(s).size });
  assert.is(distinct.value, 8);
  assert.ok(distinct.high < 8);
  assert.is(distinct.method, "percentile");
  refused(() => bootstrapInterval([1]), RangeError, /2 values, but found 1/);
  refused(() => bootstrapInterval(3 as unknown as []), TypeError, /values/);
  refused(() => bootstrapInterval([1, NaN]), RangeError, /found NaN/);
  refused(() => bootstrapInterval(["a", "b"]), TypeError, /found "a"/);
  refused(() => bootstrapInterval([1, 2], { statistic: () => NaN }), RangeError, /statistic/);
  refused(() => bootstrapInterval([1, 2], { confidence: 1 }), RangeError, /confidence/);
  refused(() => bootstrapInterval([1, 2], { resamples: 0 }), RangeError, /resamples/);
  refused(() => bootstrapInterval([1, 2], { method: "t" as "bca" }), RangeError, /method/);
});
drawing.run();

const judging = suite("measures of a model");

/** The golden model, with a vocabulary of words and full stops instead of its dummy one. */
function withSentences(model: Model): Model {
  return {
    info: model.info,
    session: (options: object) => model.session(options),
    tokenize: (text: string) => model.tokenize(text),
    detokenize: (tokens: Iterable<number>) =>
      [...tokens].map((id, i) => id % 7 === 0 ? "." : i === 0 ? `w${id}` : ` w${id}`).join(""),
  } as unknown as Model;
}

judging("perplexity is that of transformers' logits", async () => {
  const { name, tokens, prompt, nll, nll_after_prompt } = golden.model;
  using model = await loadModel(join(folder, `${name}.gguf`), { precision: "float", threads: 2 });
  const kv = { key: "f32", value: "f32" } as const;
  const whole = await perplexity(model, tokens, { kv });
  near(whole.nll, nll, 1e-4);
  assert.is(whole.perplexity, Math.exp(whole.nll));
  assert.equal([whole.tokens, whole.chunks], [tokens.length - 1, 1]);
  const after = await perplexity(model, tokens.slice(prompt), {
    prompt: Uint32Array.from(tokens.slice(0, prompt)),
    kv,
  });
  near(after.nll, nll_after_prompt, 1e-4);
  assert.equal([after.tokens, after.context], [tokens.length - prompt, tokens.length]);
});

judging("perplexity adds up over its chunks", async () => {
  const { name, tokens } = golden.model;
  using model = await loadModel(join(folder, `${name}.gguf`), { precision: "float", threads: 2 });
  const bare: number[] = tokens.slice(1);
  const progress: number[] = [];
  const chunked = await perplexity(model, bare, {
    context: 31,
    onProgress: ({ done, total }) => progress.push(done, total),
  });
  assert.equal(progress, [30, 79, 60, 79, 79, 79]);
  let sum = 0;
  for (let at = 0; at < bare.length; at += 30) {
    const piece = await perplexity(model, bare.slice(at, at + 30));
    sum += piece.nll * piece.tokens;
  }
  assert.equal([chunked.tokens, chunked.chunks, chunked.context], [79, 3, 31]);
  near(chunked.nll, sum / 79, 1e-6);
});

judging("coherence is that of transformers' logits", async () => {
  const { name, tokens, prompt, sentences, coherence: score } = golden.model;
  using model = await loadModel(join(folder, `${name}.gguf`), { precision: "float", threads: 2 });
  const kv = { key: "f32", value: "f32" } as const;
  const found = await coherence(withSentences(model), tokens, { kv });
  near(found.score, score, 1e-4);
  assert.equal(
    found.sentences.map((sentence) => sentence.tokens),
    sentences.map((sentence: { tokens: number }) => sentence.tokens),
  );
  assert.ok(Number.isNaN(found.sentences[0]?.logprob));
  for (const [i, { logprob }] of found.sentences.entries()) {
    if (i > 0) near(logprob, sentences[i].logprob, 1e-4);
  }
  // With a prompt the first sentence counts as well.
  const after = await coherence(withSentences(model), tokens.slice(prompt), {
    prompt: tokens.slice(0, prompt),
    kv,
  });
  const sum = after.sentences.reduce((all, { logprob }) => all + logprob, 0);
  near(-sum / (tokens.length - prompt), golden.model.nll_after_prompt, 1e-4);
  near(after.score, sum / (tokens.length - prompt), 1e-12);
});

judging("a text is split at the ends of sentences, and nothing is lost", () => {
  const cases: [string, string[]][] = [
    ["One. Two! Three?", ["One.", " Two!", " Three?"]],
    ['He said "no." Then (yes.) He left…\n', ['He said "no."', " Then (yes.)", " He left…\n"]],
    ["Title\n\nBody 3.14 ends", ["Title", "\n\nBody 3.14 ends"]],
    ["no end", ["no end"]],
    ["", [""]],
    ["a.\n\nb", ["a.", "\n\nb"]],
  ];
  for (const [text, sentences] of cases) assert.equal(sentencesOf(text), sentences);
});

judging("text and tokens give the same, and misuse is named", async () => {
  using model = await loadModel(tinyModel(), { threads: 2 });
  const text = "the cat. the hat! the end";
  const bare = [...model.tokenize(text, { addSpecial: false })];
  assert.equal(await perplexity(model, text), await perplexity(model, bare));
  assert.equal(await perplexity(model, text), await perplexity(model, model.tokenize(text)));
  assert.equal(await coherence(model, text), await coherence(model, bare));
  const { sentences } = await coherence(model, text);
  assert.equal(sentences.map((sentence) => sentence.text.trim()), [
    "the cat.",
    "the hat!",
    "the end",
  ]);
  assert.is(sentences.reduce((sum, { tokens }) => sum + tokens, 0), bare.length);
  const cases: [() => Promise<unknown>, RegExp][] = [
    [() => perplexity(model, ""), /predicted, but found 0/],
    [() => perplexity(model, text, { context: 1 }), /context .* found 1/],
    [() => perplexity(model, text, { prompt: "a", context: 4 }), /hold prompt and text.* found 4/],
    [() => perplexity(model, [1, 1e9]), /found 1000000000/],
    [() => perplexity(model, text, { prompts: "" } as object), /"prompts"/],
    [() => perplexity(model, 7 as unknown as string), /found 7/],
    [() => coherence(model, ""), /Expected a text, but found ""/],
    [() => coherence(model, [NaN]), /found NaN/],
  ];
  for (const [call, words] of cases) {
    try {
      await call();
    } catch (error) {
      assert.match((error as Error).message, words);
      assert.ok(error instanceof TypeError || error instanceof RangeError);
      continue;
    }
    assert.unreachable(String(words));
  }
  const gone = AbortSignal.abort(new Error("gone"));
  for (const measure of [perplexity, coherence]) {
    try {
      await measure(model, text, { signal: gone });
    } catch (error) {
      assert.is((error as Error).message, "gone");
      continue;
    }
    assert.unreachable("the signal was not seen");
  }
});
judging.run();
