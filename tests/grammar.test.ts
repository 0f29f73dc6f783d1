/** Grammars as sampler stages: what is drawn, what is seen of them, and what goes wrong. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  formatSampler,
  grammar,
  greedy,
  loadModel,
  matchGrammar,
  parseSampler,
  sampleLogits,
  temperature,
  topK,
} from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const lines = 'root ::= line{3}\nline ::= [a-z]{1,6} (" " | "é") [0-9]+ "\\n"';

const grammars = suite("grammars");

grammars("what is drawn is of the grammar, alone and among many", async () => {
  using model = await loadModel(path, { threads: 2 });
  using session = model.session();
  const sampler = [grammar(lines), temperature(1.3)];
  const many = await session.sampleMany("x", { n: 6, sampler, seed: 1, maxTokens: 200 }).collect();
  let ended = 0;
  for (const { text, seed, tokens, stopReason } of many) {
    const { matches, read } = await matchGrammar(lines, text);
    assert.is(read, new TextEncoder().encode(text).length, text);
    assert.is(matches, stopReason === "end", text);
    ended += Number(matches);
    // A new request begins the grammar anew.
    session.truncate(0);
    const alone = session.generate("x", { sampler, seed, maxTokens: 200 });
    assert.equal((await Array.fromAsync(alone)).map(({ token }) => token), tokens);
  }
  assert.ok(ended > 0);
});

grammars("the mask of each step is that of the stage", async () => {
  using model = await loadModel(path, { threads: 1 });
  using session = model.session();
  const stage = grammar(lines);
  const generation = session.generate("x", {
    ...{ sampler: [stage, temperature(1)], seed: 4, maxTokens: 12, trace: true },
  });
  const steps = await Array.fromAsync(generation);
  const trace = generation.trace!;
  for (const [i, { token }] of steps.entries()) {
    const before = steps.slice(0, i).map((step) => step.token);
    const mask = model.grammarMask(stage, before);
    assert.ok(mask.includes(token));
    assert.is(mask.length, trace.stages[0]!.left.candidates[i]);
    assert.is(mask.length, trace.stages[0]!.state[i]);
  }
  // Text is as good as tokens.
  const text = steps.slice(0, 2).map((step) => step.text).join("");
  assert.equal(
    model.grammarMask(lines, text),
    model.grammarMask(lines, steps.slice(0, 2).map(({ token }) => token)),
  );
  // Every token that begins with a, b or é; the halves of é too.
  const mask = model.grammarMask('root ::= [abé] "x"');
  const named = Array.from(mask, (token) => model.detokenize([token]));
  assert.ok(
    named.includes("a") && named.includes("b") && named.includes("é") && named.includes("\ufffd"),
  );
  assert.not.ok(named.includes("c"));
  assert.equal([...model.grammarMask('root ::= "ab"', "ab")], [model.info.eos]);
});

grammars("tokens are named by id and by name", async () => {
  using model = await loadModel(path, { threads: 1 });
  using session = model.session();
  const [bot] = model.tokenize("<|bot|>", { addSpecial: false });
  const sampler = [grammar('root ::= "q" <|bot|> !<|bot|> "z"'), greedy()];
  const tokens = (await Array.fromAsync(session.generate("x", { sampler }))).map(({ token }) =>
    token
  );
  assert.is(tokens[1], bot);
  assert.is.not(tokens[2], bot);
  assert.equal([...model.grammarMask(`root ::= <[${bot}]>`)], [bot]);
});

grammars("what is wrong has a place, and the session stays usable", async () => {
  using model = await loadModel(path, { threads: 1 });
  using session = model.session();
  const fails = async (run: () => Promise<unknown>, message: RegExp) => {
    try {
      await run();
      assert.unreachable(`${message}`);
    } catch (error) {
      assert.instance(error, EngineError);
      assert.match((error as EngineError).message, message);
    }
  };
  const with_ = (...sampler: Parameters<typeof formatSampler>[0][number][]) => () =>
    session.generate("x", { sampler, maxTokens: 3 }).text();
  await fails(
    with_(grammar("root ::= a\n")),
    /\(grammar\): grammar line 1, column 10: expected a rule that is defined, found a/,
  );
  await fails(with_(grammar('root ::= root "a" | "b"')), /begins with itself, found root → root/);
  await fails(with_(topK(1), grammar('root ::= "\u{1f600}"')), /put the grammar first/);
  await fails(() => matchGrammar("root ::= (", "x"), /line 1, column 11/);
  await fails(() => Promise.resolve().then(() => model.grammarMask(lines, "!")), /from byte 0 on/);
  await fails(
    () => Promise.resolve().then(() => model.grammarMask(lines, [5])),
    /tokens that the grammar allows/,
  );
  assert.throws(() => grammar(5 as never), /grammar as text/);
  session.truncate(0);
  assert.is(
    await session.generate("x", { sampler: [grammar('root ::= "ok"'), greedy()] }).text(),
    "ok",
  );
  // Draws without a session know tokens by a model only.
  const logits = new Float32Array(model.info.logits);
  const sampler = [grammar('root ::= "b" | "c"')];
  // The second token is drawn behind the first.
  const drawn = await sampleLogits(logits, { sampler, model, count: 2 });
  assert.match(model.detokenize(drawn.slice(0, 1)), /^[bc]$/);
  assert.is(drawn[1], model.info.eos);
  try {
    await sampleLogits(logits, { sampler });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /expected a model for the texts of its tokens/);
  }
});

grammars("the short notation keeps it", () => {
  const chain = [grammar('root ::= "a,b=c" [0-9]\n'), temperature(0.5)];
  assert.equal(parseSampler(formatSampler(chain)), chain);
});
grammars.run();
