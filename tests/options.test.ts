/** What the module checks by itself, before any native code is called. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError, greedy, loadModel, minP, temperature, topK, topP } from "../mod.ts";
import { StopFilter } from "../src/internal/stop_filter.ts";
import { generationSettings } from "../src/internal/generation_settings.ts";
import type { Step } from "../src/step.ts";

const samplers = suite("sampler constructors");

samplers("what is in range is kept", () => {
  assert.equal(greedy(), { name: "greedy", params: {} });
  assert.equal(temperature(0.8), { name: "temperature", params: { t: 0.8 } });
  assert.equal(temperature(0).params, { t: 0 });
  assert.equal(topK(40), { name: "top_k", params: { k: 40 } });
  assert.equal(topP(1), { name: "top_p", params: { p: 1 } });
  assert.equal(minP(0), { name: "min_p", params: { p: 0 } });
});

samplers("what is out of range is a RangeError that says what was found", () => {
  for (const value of [-0.1, NaN, Infinity, -Infinity]) {
    for (const make of [temperature, topP, minP, topK]) {
      assert.throws(
        () => make(value),
        (error: unknown) => error instanceof RangeError && error.message.endsWith(`found ${value}`),
      );
    }
  }
  for (const make of [() => topK(0), () => topK(1.5), () => topP(1.01), () => minP(2)]) {
    assert.throws(make, (error: unknown) => error instanceof RangeError);
  }
});

samplers("what is no number is a TypeError", () => {
  for (const value of ["1", null, undefined, 1n, {}, true]) {
    for (const make of [temperature, topP, minP, topK]) {
      assert.throws(() => make(value as number), (error: unknown) => error instanceof TypeError);
    }
  }
});
samplers.run();

const options = suite("options");

options("an unknown field is refused by its name", async () => {
  const wrong = { sampler: [], topp: 0.9 } as Record<string, unknown>;
  assert.throws(() => generationSettings(wrong), /found "topp"/);
  for (const field of ["temperature", "top_p", "max_tokens", "Seed"]) {
    assert.throws(
      () => generationSettings({ [field]: 1 }),
      (error: unknown) => error instanceof TypeError,
    );
  }
  try {
    await loadModel("x.gguf", { thread: 2 } as object);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, TypeError);
    assert.match((error as Error).message, /found "thread"/);
  }
});

options("a stage that nobody knows, or with foreign parameters, is refused", () => {
  const chains: unknown[] = [
    "greedy",
    [{ name: "top_q", params: {} }],
    [{ name: "top_p", params: {} }],
    [{ name: "top_p", params: { p: 1, k: 2 } }],
    [{ name: "greedy", params: {}, extra: 1 }],
    [null],
  ];
  for (const sampler of chains) {
    assert.throws(
      () => generationSettings({ sampler: sampler as [] }),
      (error: unknown) => error instanceof TypeError || error instanceof RangeError,
    );
  }
});

options("seeds reach 2^64 - 1, and nothing beyond", () => {
  const max = 0xffff_ffff_ffff_ffffn;
  assert.is(generationSettings({ seed: max }).request.seed, max);
  assert.is(generationSettings({ seed: 0 }).request.seed, 0n);
  assert.is(generationSettings({ seed: Number.MAX_SAFE_INTEGER }).request.seed, 2n ** 53n - 1n);
  for (const seed of [-1, 0.5, 2 ** 53, NaN, -1n, max + 1n]) {
    assert.throws(
      () => generationSettings({ seed }),
      (error: unknown) => error instanceof RangeError,
    );
  }
  assert.throws(() => generationSettings({ seed: "7" as unknown as number }), /number/);
});

options("limits are checked", () => {
  const wrong: Record<string, unknown>[] = [
    { maxTokens: 0 },
    { maxTokens: 2 ** 32 },
    { topLogprobs: 65 },
    { topLogprobs: -1 },
    { stop: "" },
    { stop: ["a", ""] },
    { stop: [1] },
    { signal: {} },
    { ignoreEnd: 1 },
    { onPrefill: 1 },
  ];
  for (const fields of wrong) {
    assert.throws(
      () => generationSettings(fields),
      (error: unknown) => error instanceof TypeError || error instanceof RangeError,
      JSON.stringify(fields),
    );
  }
});

options("a file that isn't there is an error with a code", async () => {
  try {
    await loadModel("./there/is/no/such/file.gguf");
    assert.unreachable();
  } catch (error) {
    assert.instance(error, EngineError);
    assert.is((error as EngineError).code, "file-not-found");
  }
});
options.run();

const stops = suite("stop strings");

/** Runs texts through a filter: what was shown after each, and what at the end. */
function filtered(stop: string[], texts: string[]): [shown: string[], found: boolean] {
  const filter = new StopFilter(stop);
  const join = (steps: Step[]) => steps.map((step) => step.text).join("");
  const shown: string[] = [];
  for (const [position, text] of texts.entries()) {
    shown.push(
      join(filter.push({ token: position, text, logprob: 0, entropy: NaN, top: [], position })),
    );
    if (filter.found) return [shown, true];
  }
  shown.push(join(filter.flush()));
  return [shown, false];
}

stops("one that spans tokens is found, and its beginning isn't shown", () => {
  assert.equal(filtered(["STOP"], ["a S", "T", "OP b"]), [["", "", "a "], true]);
  assert.equal(filtered(["STOP"], ["a", "ST", "O"]), [["a", "", "", "STO"], false]);
  assert.equal(filtered(["\n\n"], ["x\n", "y", "\n", "\nz"]), [["", "x\ny", "", ""], true]);
});

stops("the first of several wins", () => {
  assert.equal(filtered(["bc", "b"], ["ab", "c"]), [["a"], true]);
  assert.equal(filtered(["cd", "abcx"], ["ab", "c", "d"]), [["", "", "ab"], true]);
});

stops("a beginning that repeats itself is found", () => {
  assert.equal(filtered(["aab"], ["a", "a", "a", "b"]), [["", "", "a", ""], true]);
});

stops("without stop strings nothing is held back", () => {
  assert.equal(filtered([], ["a", "", "b"]), [["a", "", "b", ""], false]);
});

stops("every split of a text gives the same result", () => {
  const text = "xaabaabaacyaab";
  const stop = ["aabaac"];
  for (let mask = 0; mask < 1 << (text.length - 1); mask += 7) {
    const parts = [""];
    for (const [i, letter] of [...text].entries()) {
      parts[parts.length - 1] += letter;
      if (mask >> i & 1) parts.push("");
    }
    const [shown, found] = filtered(stop, parts);
    assert.is(found, true);
    assert.is(shown.join(""), "xaab", parts.join("|"));
  }
});
stops.run();
