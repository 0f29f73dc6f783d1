/** Comparisons of samplers: the same seeds and budgets for all, figures from the texts, and misuse. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bootstrapInterval,
  compareSamplers,
  distinctN,
  loadModel,
  type SampledText,
  samplerChart,
  samplerTable,
  selfBleu,
  seqRep,
  temperature,
} from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 4096 });
const load = () => loadModel(path, { threads: 2 });
const prompts = ["the cat", "a hat in the end", "then he", "her head"];
const settings = { trials: 3, maxTokens: 20, seed: 100, resamples: 200 };

const comparison = suite("compareSamplers");

comparison("figures are those of the texts that generate gives with the seeds", async () => {
  using model = await load();
  const found = await compareSamplers(
    model,
    prompts,
    { greedy: "greedy", warm: [temperature(1.5)], pure: "" },
    settings,
  );
  assert.equal(found.samplers.map(({ name, sampler }) => [name, sampler]), [
    ["greedy", "greedy"],
    ["warm", "temperature=1.5"],
    ["pure", ""],
  ]);
  assert.equal([found.prompts, found.trials, found.seed], [4, 3, "100"]);
  // The texts of one sampler again, each alone.
  const texts: SampledText[][] = [];
  for (const [p, prompt] of prompts.entries()) {
    texts.push([]);
    for (let trial = 0; trial < 3; trial++) {
      using session = model.session({ context: 100 });
      const [tokens, logprobs]: [number[], number[]] = [[], []];
      const options = { sampler: [temperature(1.5)], maxTokens: 20, ignoreEnd: true };
      for await (
        const step of session.generate(prompt, { ...options, seed: 100 + 3 * p + trial })
      ) {
        tokens.push(step.token);
        logprobs.push(step.logprob);
      }
      texts[p]!.push({ tokens, logprobs });
    }
  }
  const tokensOf = (group: readonly SampledText[]) => group.map(({ tokens }) => tokens);
  const measures = found.samplers[1]!.measures;
  const expected: [string, (group: readonly SampledText[]) => number][] = [
    ["distinct2", (group) => distinctN(tokensOf(group), 2)],
    ["selfBleu4", (group) => selfBleu(tokensOf(group))],
    ["seqRep4", (group) => seqRep(tokensOf(group))],
    ["nll", (group) => {
      const all = group.flatMap(({ logprobs }) => logprobs);
      return -all.reduce((sum, value) => sum + value, 0) / all.length;
    }],
  ];
  for (const [name, measure] of expected) {
    const { value, low, high } = bootstrapInterval(texts.map(measure), { resamples: 200 });
    const figure = measures[name]!;
    assert.ok(Math.abs(figure.mean - value) < 1e-12, name);
    assert.equal([figure.low, figure.high, figure.prompts], [low, high, 4], name);
    assert.is(figure.corpus, measure(texts.flat()));
  }
  const { nll, perplexity, length } = measures;
  assert.is(perplexity!.mean, Math.exp(nll!.mean));
  assert.is(perplexity!.high, Math.exp(nll!.high));
  assert.is(length!.mean, 20);
});

comparison(
  "greedy texts are all the same, and differences are from the first sampler",
  async () => {
    using model = await load();
    const samplers = { pure: "", again: "", greedy: "greedy" };
    const { samplers: [pure, again, greedy] } = await compareSamplers(
      model,
      prompts,
      samplers,
      settings,
    );
    assert.equal(again!.measures, pure!.measures);
    for (const difference of Object.values(again!.differences)) assert.is(difference.mean, 0);
    assert.ok(Math.abs(greedy!.measures["selfBleu4"]!.mean - 1) < 1e-12);
    const { mean, high } = greedy!.differences["nll"]!;
    const expected = greedy!.measures["nll"]!.mean - pure!.measures["nll"]!.mean;
    assert.ok(Math.abs(mean - expected) < 1e-9);
    assert.ok(high < 0, "greedy text is more probable");
  },
);

comparison("the same comparison gives the same JSON, NaN as null", async () => {
  using model = await load();
  const run = () =>
    compareSamplers(model, ["the cat"], { a: "temp=1.2", b: "top-k=5" }, {
      ...settings,
      trials: 1,
    });
  const first = JSON.parse(JSON.stringify(await run()));
  assert.equal(first, JSON.parse(JSON.stringify(await run())));
  assert.is(first.samplers[0].measures.selfBleu4.mean, null);
  assert.is(first.samplers[0].measures.nll.low, null);
  assert.ok(first.samplers[0].measures.nll.mean > 0);
});

comparison("each sampler is tuned with the same budget, on other prompts", async () => {
  using model = await load();
  const seen: [number, number][] = [];
  const found = await compareSamplers(
    model,
    prompts,
    {
      pure: "",
      warmth: ["temp=0.3", "temp=1", "temp=3"],
      nucleus: ["top-p=0.2", "top-p=0.5", "top-p=0.9"],
    },
    {
      ...settings,
      tune: { prompts: ["in the", "a the"], measure: "first", goal: 0 },
      measures: { first: (texts) => texts.filter(({ tokens }) => tokens[0]! < 150).length },
      onProgress: ({ done, total }) => seen.push([done, total]),
    },
  );
  for (const { name, sampler, tuning } of found.samplers) {
    assert.is(tuning.length, name === "pure" ? 0 : 3);
    if (name === "pure") continue;
    const least = Math.min(...tuning.map(({ value }) => Math.abs(value)));
    assert.is(sampler, tuning.find(({ value }) => Math.abs(value) === least)!.sampler);
  }
  // Three samplers after four prompts, and six settings after two, three trials each.
  assert.equal(seen.at(-1), [3 * (12 + 12), 3 * (12 + 12)]);
});

comparison("reference texts are measured as those of samplers are", async () => {
  using model = await load();
  const texts = Array.from({ length: 5 }, (_, t) => {
    return Array.from({ length: 30 + t }, (_, i) => 3 + (i * (7 + t)) % 250);
  });
  const samplers = { greedy: "greedy", pure: "" };
  const plain = await compareSamplers(model, prompts, samplers, settings);
  assert.is(plain.reference, undefined);
  const { reference, ...rest } = await compareSamplers(model, prompts, samplers, {
    ...settings,
    reference: texts,
  });
  assert.equal(rest, plain);
  assert.is(reference!.texts, 5);
  // Two groups of at most three texts, and the last 20 tokens of each.
  const opening = model.info.bos !== undefined ? [model.info.bos] : [];
  const groups: SampledText[][] = [[], []];
  for (const [i, text] of texts.entries()) {
    using session = model.session({ context: 64 });
    const begins = model.tokenize("")[0] === opening[0];
    const scores = await session.score([...(begins ? opening : []), ...text]);
    groups[i % 2]!.push({ tokens: text.slice(-20), logprobs: [...scores.slice(-20)] });
  }
  const nll = (all: readonly number[]) => -all.reduce((sum, x) => sum + x, 0) / all.length;
  const means = groups.map((group) => nll(group.flatMap(({ logprobs }) => logprobs)));
  const { mean, prompts: count, corpus } = reference!.measures["nll"]!;
  assert.ok(Math.abs(mean - (means[0]! + means[1]!) / 2) < 1e-9);
  assert.ok(Math.abs(corpus - nll(groups.flat().flatMap(({ logprobs }) => logprobs))) < 1e-9);
  assert.is(count, 2);
  const tokens = groups.map((group) => group.map((text) => text.tokens));
  const distinct = (distinctN(tokens[0]!, 2) + distinctN(tokens[1]!, 2)) / 2;
  assert.is(reference!.measures["distinct2"]!.mean, distinct);
  for (const [name, nearest] of Object.entries(reference!.nearest)) {
    const far = (name_: string) => {
      const row = plain.samplers.find((row) => row.name === name_)!;
      return Math.abs(row.measures[name]!.mean - reference!.measures[name]!.mean);
    };
    assert.ok(far(nearest) <= far(nearest === "pure" ? "greedy" : "pure"), name);
  }
  assert.ok("perplexity" in reference!.nearest);
});

comparison("a comparison is a table and a picture, from JSON too", async () => {
  using model = await load();
  const samplers = { greedy: "greedy", "": "", warm: [temperature(1.5)] };
  const found = await compareSamplers(model, prompts, samplers, {
    ...settings,
    reference: [Array.from({ length: 40 }, (_, i) => 3 + (i * 7) % 250)],
  });
  const table = samplerTable(found);
  const lines = table.split("\n").map((line) => line.split(/ {2,}/));
  assert.equal(lines.map(([name]) => name), [
    ...["sampler", "greedy", "(none)", "warm: temperature=1.5"],
    ...["reference", "nearest to it", ""],
  ]);
  const { mean, low, high } = found.samplers[0]!.measures["distinct2"]!;
  const cell = lines[1]![lines[0]!.indexOf("distinct-2")];
  assert.is(cell, `${mean.toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`);
  assert.match(
    lines[5]!.slice(1).join(),
    /^(greedy|\(none\)|warm|–)(,(greedy|\(none\)|warm|–)){5}$/,
  );
  const chart = samplerChart(found, "distinct2");
  assert.match(
    chart,
    /^<svg [^]*distinct-2 of 4 prompts, 3 trials each[^]*warm: temp[^]*<\/svg>\n$/,
  );
  assert.is(chart.match(/<circle /g)?.length, 4);
  const read = JSON.parse(JSON.stringify(found));
  assert.is(samplerTable(read), table);
  assert.is(samplerChart(read, "distinct2"), chart);
  assert.match(samplerChart(found), /perplexity of 4 prompts/);
  assert.throws(
    () => samplerChart(found, "distinct3"),
    /measure of the comparison \(perplexity, nll,.*found "distinct3"/,
  );
});

comparison("misuse is named", async () => {
  using model = await load();
  const tune = { prompts: ["in the"], measure: "nll", goal: "least" as const };
  const two = ["temp=1", "temp=2"];
  const cases: [() => Promise<unknown>, RegExp][] = [
    [() => compareSamplers(model, [], { a: "" }), /prompts to be .* an array of 0/],
    [() => compareSamplers(model, prompts, {}), /one sampler, but found 0/],
    [() => compareSamplers(model, prompts, { a: "tempp=1" }), /found "tempp=1"/],
    [() => compareSamplers(model, prompts, { a: 7 as unknown as string }), /samplers\.a .* 7/],
    [() => compareSamplers(model, prompts, { a: two }), /tune .* 2 settings, but found undefined/],
    [
      () => compareSamplers(model, prompts, { a: two, b: "top-p=0.9" }, { tune }),
      /same tuning budget .* 2 settings, but found 1 of b/,
    ],
    [
      () => compareSamplers(model, ["in the"], { a: two }, { tune }),
      /others than prompts, but found tune\.prompts\[0\]/,
    ],
    [
      () => compareSamplers(model, prompts, { a: two }, { tune: { ...tune, measure: "x" } }),
      /tune\.measure .* found "x"/,
    ],
    [() => compareSamplers(model, prompts, { a: "" }, { trials: 0 }), /trials/],
    [
      () => compareSamplers(model, prompts, { a: "" }, { maxTokens: 9, reference: [[5, 6, 7]] }),
      /reference\[0\] to have more than 9 tokens, but found/,
    ],
    [() => compareSamplers(model, prompts, { a: "" }, { trial: 1 } as object), /"trial"/],
    [
      () => compareSamplers(model, prompts, { a: "" }, { measures: { x: 1 } } as object),
      /measures\.x .* found 1/,
    ],
    [
      () => compareSamplers(model, prompts, { a: "" }, { signal: AbortSignal.abort(Error("no")) }),
      /^no$/,
    ],
  ];
  for (const [call, words] of cases) {
    let message = "nothing was thrown";
    try {
      await call();
    } catch (error) {
      message = (error as Error).message;
    }
    assert.match(message, words);
  }
});
comparison.run();
