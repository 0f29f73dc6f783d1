/** The sampler's stages from here: what each leaves of known distributions, and the notation. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  dynamicTemperature,
  type EngineError,
  epsilonCutoff,
  etaCutoff,
  formatSampler,
  grammar,
  greedy,
  minK,
  minP,
  parseSampler,
  pLess,
  sampleLogits,
  type SamplerStage,
  tailFree,
  temperature,
  topA,
  topK,
  topNSigma,
  topP,
  typical,
  xtc,
} from "../mod.ts";
import { SamplerStages } from "../src/ffi/symbols.gen.ts";
import { aliases, notation } from "../src/internal/sampler_notation.ts";

/** The probabilities of the worked examples. */
const shares = [0.05, 0.45, 0.15, 0.35];

/** Which tokens a chain ever draws, most often first. */
async function drawn(
  probabilities: readonly number[],
  sampler: readonly SamplerStage[],
  count = 4000,
): Promise<number[]> {
  const logits = Float32Array.from(probabilities, Math.log);
  const tokens = await sampleLogits(logits, { sampler, seed: 11, count });
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([token]) => token);
}

const stages = suite("sampler stages");

stages("each leaves of 0.45, 0.35, 0.15, 0.05 what its formula says", async () => {
  const left: [SamplerStage, number[]][] = [
    [greedy(), [1]],
    [topK(2), [1, 3]],
    [topP(0.9), [1, 3, 2]],
    [minP(0.4), [1, 3]],
    // The entropy is 1.16 nats: 0.35 has 1.05 of information, 0.45 0.80, and 0.15 1.90.
    [typical(0.3), [3]],
    [typical(0.7), [1, 3]],
    // Logits from the best: 0, 0.25, 1.10, 2.20; their deviation is 0.86.
    [topNSigma(1), [1, 3]],
    [topNSigma(1.5), [1, 3, 2]],
    [epsilonCutoff(0.1), [1, 3, 2]],
    [epsilonCutoff(0.9), [1]],
    // √0.9 · e^-1.16 is 0.30.
    [etaCutoff(0.9), [1, 3]],
    // The bends are 0.10 and 0.10.
    [tailFree(0.4), [1]],
    [tailFree(0.6), [1, 3]],
    [topA(0.5), [1, 3, 2]],
    [topA(1), [1, 3]],
    // Two draws agree with probability 0.35, a little less in floats of these shares or a little more.
    [pLess(true), [1, 3, 2]],
    // Falls of 0.25, 0.85 / 2 and 1.10 / 3.
    [minK(0), [1, 3]],
    [minK(7), [1, 3, 2]],
    [dynamicTemperature(0, 0), [1]],
    [xtc(1, 0.1), [2, 0]],
    [xtc(1, 0.4), [1, 3, 2, 0]],
  ];
  for (const [stage, tokens] of left) {
    assert.equal(await drawn(shares, [stage]), tokens, formatSampler([stage]));
  }
});

stages("what keeps everything draws as no stage does", async () => {
  const logits = Float32Array.from(shares, Math.log);
  const plain = await sampleLogits(logits, { seed: 3, count: 500 });
  const neutral = [
    typical(1),
    topNSigma(1e6),
    epsilonCutoff(0),
    etaCutoff(0),
    tailFree(1),
    topA(0),
    dynamicTemperature(1, 1),
    minK(1e6),
    xtc(0),
    xtc(1, 0.51),
  ];
  for (const stage of neutral) {
    const tokens = await sampleLogits(logits, { sampler: [stage], seed: 3, count: 500 });
    assert.equal(tokens, plain, stage.name);
  }
});

stages("top-nσ and min-k leave the same tokens at every temperature", async () => {
  for (const stage of [topNSigma(1), minK(0)]) {
    for (const t of [0.5, 1, 3]) {
      const tokens = await drawn(shares, [temperature(t), stage], 8000);
      assert.equal(tokens.sort(), [1, 3], `${stage.name} at ${t}`);
    }
  }
});

stages("logits without a distribution are refused, whatever the stage", async () => {
  const broken = Float32Array.of(1, NaN, 2);
  const masked = Float32Array.of(-Infinity, -Infinity);
  // A grammar needs the texts of tokens, which these have not.
  for (const name of Object.keys(notation).filter((name) => name !== "grammar")) {
    const sampler = [example(name)];
    for (const logits of [broken, masked]) {
      try {
        await sampleLogits(logits, { sampler });
        assert.unreachable(name);
      } catch (error) {
        assert.is((error as EngineError).code, "numeric", name);
      }
    }
    // One token, and tokens that cannot be drawn.
    assert.equal(await sampleLogits(Float32Array.of(3), { sampler }), Uint32Array.of(0), name);
    const one = Float32Array.of(-Infinity, 1, -Infinity);
    assert.equal(await sampleLogits(one, { sampler }), Uint32Array.of(1), name);
  }
});

/** A stage with values that its range allows. */
function example(name: string): SamplerStage {
  if (name === "grammar") return grammar('root ::= "x"');
  const { values: [least], make, data } = notation[name] as (typeof notation)[string];
  // A bias, and no sequence breakers.
  const given = data === "always" ? [[0, 1]] as const : data === "maybe" ? [] : undefined;
  return make(Array.from({ length: least }, () => 1), given);
}

stages("out of range is a RangeError that names the stage, no number a TypeError", () => {
  const wrong: [() => SamplerStage, RegExp][] = [
    [() => typical(-0.1), /the p of typical to be from 0 to 1, but found -0.1/],
    [() => topNSigma(-1), /the n of topNSigma/],
    [() => epsilonCutoff(1.1), /the epsilon of epsilonCutoff/],
    [() => etaCutoff(NaN), /the epsilon of etaCutoff .*found NaN/],
    [() => tailFree(2), /the z of tailFree/],
    [() => topA(Infinity), /the a of topA/],
    [() => dynamicTemperature(-1, 1), /the low of dynamicTemperature/],
    [() => dynamicTemperature(0, 1, 101), /the exponent of dynamicTemperature/],
    [() => minK(-1), /the tau of minK/],
    [() => xtc(2), /the probability of xtc/],
    [() => xtc(1, -1), /the threshold of xtc/],
  ];
  for (const [make, message] of wrong) {
    assert.throws(make, (error: unknown) => {
      return error instanceof RangeError && message.test(error.message);
    });
  }
  for (const make of [typical, topNSigma, tailFree, topA, minK, pLess] as unknown[]) {
    const call = make as (value: unknown) => SamplerStage;
    assert.throws(() => call("1"), (error: unknown) => error instanceof TypeError);
  }
});
stages.run();

const chains = suite("sampler notation");

chains("a chain is read, and written in one form", () => {
  const chain = parseSampler(" temp=0.8, top_k=40 ,top-p=0.9,dynatemp=0.2:1.5,min-k,greedy");
  assert.equal(chain, [
    temperature(0.8),
    topK(40),
    topP(0.9),
    dynamicTemperature(0.2, 1.5),
    minK(),
    greedy(),
  ]);
  const text = formatSampler(chain);
  assert.is(
    text,
    "temperature=0.8,top-k=40,top-p=0.9,dynamic-temperature=0.2:1.5:1,min-k=3,greedy",
  );
  assert.equal(parseSampler(text), chain);
  assert.equal(parseSampler(""), []);
  assert.is(formatSampler([]), "");
  assert.equal(parseSampler("p-less,p-less=1"), [pLess(), pLess(true)]);
});

chains("every stage of the engine has a name, and is written as it was read", () => {
  const names = Object.keys(SamplerStages).filter((name) => !["script", "guidance"].includes(name))
    .map((name) => name.replaceAll("_", "-"));
  assert.equal(Object.keys(notation).sort(), names.sort());
  for (const name of names) {
    const stage = example(name);
    assert.is(stage.name.replaceAll("_", "-"), name);
    assert.equal(parseSampler(formatSampler([stage])), [stage]);
  }
  for (const name of Object.values(aliases)) assert.ok(name in notation, name);
});

chains("what is no chain is refused with what was found", () => {
  const wrong: [string, RegExp][] = [
    ["top-q=1", /a sampler stage \(greedy, temperature, .*but found "top-q=1"/],
    ["temp", /Expected temperature=T|Expected temp=T, but found "temp"/],
    ["temp=", /numbers after temp=, but found ""/],
    ["temp=0.8:1", /Expected temp=T, but found "temp=0.8:1"/],
    ["temp=hot", /numbers after temp=, but found "hot"/],
    ["greedy=1", /Expected greedy, but found "greedy=1"/],
    ["temp=1,,top-k=2", /a sampler stage .*but found ""/],
    ["temp=1=2", /a sampler stage/],
    ["top-p=2", /the p of topP to be from 0 to 1, but found 2/],
    ["p-less=2", /0 or 1, but found 2/],
  ];
  for (const [text, message] of wrong) {
    assert.throws(() => parseSampler(text), (error: unknown) => {
      return error instanceof RangeError && message.test(error.message);
    });
  }
  assert.throws(() => parseSampler(3 as unknown as string), /as text, but found 3/);
  assert.throws(() => formatSampler([{ name: "top_q", params: {} }]), /found "top_q"/);
});
chains.run();
