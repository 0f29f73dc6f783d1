/** Drafts: the text is the one without them, whoever guesses; and what comes of the guesses. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  contrastiveSearch,
  customDraft,
  type Draft,
  type GenerateOptions,
  grammar,
  greedy,
  guidance,
  loadModel,
  type MetadataArray,
  minP,
  type Model,
  modelDraft,
  ngramDraft,
  temperature,
  topP,
} from "../mod.ts";
import { rejection } from "./support/rejection.ts";
import { tinyModel, vocabularySize } from "./support/tiny_model.ts";

const path = tinyModel({ context: 1024 });
const otherPath = tinyModel({ context: 1024, layers: 1, embedding: 32 });
const load = () => loadModel(path, { threads: 2 });
const prompt = Array.from({ length: 40 }, (_, i) => 3 + (i * 7) % 290);
const chains = [
  [],
  [greedy()],
  [temperature(0.5), minP(0.05)],
  [temperature(2), topP(0.9)],
  // Its state follows what is generated, and the guesses don't.
  [grammar("root ::= ([a-m]{1,3} [n-z .]{1,2})+"), temperature(3)],
];

/** All that a generation shows, and what is left of it. */
async function generated(model: Model, options: GenerateOptions) {
  using session = model.session({ context: 400 });
  const generation = session.generate(prompt, { maxTokens: 60, ...options });
  const steps = [];
  for await (const step of generation) steps.push(step);
  const { stopReason, trace, tape, drafts } = generation;
  const chosen = trace && { ...trace, stages: trace.stages.map(({ left }) => left) };
  const rest = {
    tokens: session.tokens,
    logits: session.logits(),
    tape: tape?.row(tape.steps - 1),
  };
  return { seen: { steps, stopReason, chosen, ...rest }, drafts, stats: session.stats };
}

const drafts = suite("drafts");

drafts("no guess changes a step, a trace, a tape or the session", async () => {
  using model = await load();
  using other = await loadModel(otherPath, { threads: 1 });
  for (const [i, sampler] of chains.entries()) {
    const options: GenerateOptions = {
      ...{ sampler, seed: i, topLogprobs: i, entropy: i === 1, ignoreEnd: i !== 0 },
      ...(i === 2 && { trace: { candidates: 3 }, tape: true }),
    };
    const plain = await generated(model, options);
    assert.is(plain.drafts, undefined);
    const known = Array.from(plain.seen.tokens);
    let asked = 0;
    const kinds: Record<string, Draft> = {
      ngram: ngramDraft({ length: 8, ngram: 3, least: 1 }),
      itself: modelDraft(model, { length: 5 }),
      other: modelDraft(other),
      known: customDraft(({ tokens, most }) => known.slice(tokens.length, tokens.length + most)),
      wrong: customDraft(({ tokens }) => [(known[tokens.length] ?? 0) === 5 ? 6 : 5, 5, 5]),
      late: customDraft(async ({ tokens }) => {
        await new Promise((resolve) => setTimeout(resolve, asked++ % 2));
        return known.slice(tokens.length, tokens.length + 40);
      }),
      none: customDraft(() => []),
    };
    for (const [name, draft] of Object.entries(kinds)) {
      const { seen, drafts, stats } = await generated(model, { ...options, draft });
      assert.equal(seen, plain.seen, `${name}, chain ${i}`);
      const total = { drafted: 0, accepted: 0 };
      for (const { drafted, accepted } of drafts ?? []) {
        assert.ok(drafted > 0 && accepted >= 0 && accepted <= drafted);
        total.drafted += drafted;
        total.accepted += accepted;
      }
      assert.equal(total, { drafted: stats.drafted, accepted: stats.accepted });
      assert.is(stats.decodeTokens, plain.stats.decodeTokens);
      const right = ["itself", "known", "late"].includes(name);
      // A draft of a model knows nothing of a grammar.
      if (right && !(i === 4 && name === "itself")) {
        assert.is(stats.passes < plain.stats.passes / 2 || known.length < 60, true);
      }
      if (name === "wrong" || name === "none") assert.is(stats.accepted, 0);
    }
  }
});

drafts("a model that draws with the same numbers agrees, as far as it finds the same", async () => {
  using model = await load();
  const draft = modelDraft(model, { length: 6 });
  const { drafts, stats } = await generated(model, { seed: 3, ignoreEnd: true, draft });
  assert.is(stats.accepted, stats.drafted);
  assert.equal(drafts?.slice(0, 2), [
    { position: 46, drafted: 4, accepted: 4 },
    { position: 53, drafted: 6, accepted: 6 },
  ]);
});

drafts("stop strings, ends and many samples are as without", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const options = { sampler: [temperature(4)], maxTokens: 80 };
  const draft = ngramDraft({ ngram: 1 });
  const many = { ...options, n: 12, seed: 1 };
  const plain = await session.sampleMany(prompt, many).collect();
  assert.ok(plain.some(({ stopReason }) => stopReason === "end"));
  assert.equal(await session.sampleMany(prompt, { ...many, draft }).collect(), plain);
  const itself = modelDraft(model);
  assert.equal(await session.sampleMany(prompt, { ...many, draft: itself }).collect(), plain);
  const stop = [...(plain[0]?.text ?? "")].findLast((letter) => /\S/.test(letter)) as string;
  for (const each of [draft, itself]) {
    session.truncate(0);
    const cut = session.generate(prompt, { ...options, seed: 1, stop, draft: each });
    const full = plain[0]?.text as string;
    assert.is(await cut.text(), full.slice(0, full.indexOf(stop)));
    assert.is(cut.stopReason, "stop");
    const { position } = session;
    session.truncate(0);
    await session.generate(prompt, { ...options, seed: 1, stop }).text();
    assert.is(session.position, position);
  }
});

drafts("who leaves or cancels in the middle goes on from there", async () => {
  using model = await load();
  const options = { sampler: [temperature(1)], seed: 9, ignoreEnd: true };
  using whole = model.session({ context: 1000 });
  await whole.generate(prompt, { ...options, maxTokens: 900 }).text();
  for (const draft of [ngramDraft({ ngram: 1 }), modelDraft(model)]) {
    for (const abort of [false, true]) {
      using session = model.session({ context: 1000 });
      const control = new AbortController();
      const { signal } = control;
      let seen = 0;
      const run = async () => {
        const steps = session.generate(prompt, { ...options, maxTokens: 880, draft, signal });
        for await (const _ of steps) {
          if (++seen < 23) continue;
          if (!abort) break;
          control.abort(new Error("enough"));
        }
      };
      if (abort) assert.is((await rejection(run)).message, "enough");
      else await run();
      const left = 900 - 23;
      assert.is(session.position, prompt.length + 23);
      await session.generate("", { ...options, maxTokens: left, draft }).text();
      assert.equal(session.tokens, whole.tokens);
    }
  }
});

drafts("a guess that never comes ends with the signal", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const control = new AbortController();
  const draft = customDraft(() => {
    setTimeout(() => control.abort(new Error("too late")), 1);
    return new Promise(() => {});
  });
  const { signal } = control;
  const steps = session.generate(prompt, { draft, signal, ignoreEnd: true });
  assert.is((await rejection(() => steps.text())).message, "too late");
  await session.step();
});

drafts("misuse is named, and the session can be used again", async () => {
  using model = await load();
  using session = model.session({ context: 400 });
  const text = (options: GenerateOptions) =>
    session.generate(prompt, { maxTokens: 9, seed: 1, ignoreEnd: true, ...options }).text();
  const refused = async (draft: unknown, words: RegExp) => {
    const error = await rejection(() => text({ draft: draft as Draft }));
    assert.match(error.message, words);
    session.truncate(0);
  };
  await refused({}, /draft to be what ngramDraft, .*found an Object/);
  await refused("ngram", /draft to be what ngramDraft, .*found "ngram"/);
  await refused(customDraft(() => [vocabularySize]), /a draft/);
  await refused(customDraft(() => "word" as never), /a draft/);
  await refused(
    customDraft(() => {
      throw new Error("no idea");
    }),
    /no idea/,
  );
  const tokens = Array.from({ length: vocabularySize }, (_, i) => i === 270 ? "other" : undefined);
  const renamed = await renamedModel(tokens);
  using _renamed = renamed;
  await refused(modelDraft(renamed), /same tokens, found token 270 to be .* and "other"/);
  {
    using _hooks = session.hooks({ "blocks.0.attn_out": () => {} });
    await refused(ngramDraft(), /without hooks/);
  }
  using other = model.session({ context: 64 });
  await other.prefill([3, 4]);
  const both = { sampler: [guidance(other, 2)], draft: ngramDraft() };
  assert.match((await rejection(() => text(both))).message, /guided, found one with drafts/);
  const banning = { bannedStrings: ["x"], draft: ngramDraft() };
  assert.match((await rejection(() => text(banning))).message, /without banned strings for drafts/);
  const guided = { sampler: [guidance(other, 2)], bannedStrings: ["x"] };
  assert.match((await rejection(() => text(guided))).message, /guided, found one with banned/);
  const ahead = { sampler: [contrastiveSearch()], bannedStrings: ["x"] };
  assert.match(
    (await rejection(() => text(ahead))).message,
    /look ahead in, found one with banned/,
  );
  using shifting = model.session({ context: 64, shift: { keep: 4 } });
  const host = shifting.generate(prompt, { draft: modelDraft(model) });
  assert.match((await rejection(() => host.text())).message, /without context shift/);
  for (const wrong of [{ length: 0 }, { length: 33 }, { ngram: 17 }, { ngram: 2, least: 3 }]) {
    assert.throws(() => ngramDraft(wrong), /Expected (length|ngram|least) to be a whole number/);
  }
  assert.throws(() => ngramDraft({ most: 3 } as never), /option of ngramDraft/);
  assert.throws(() => modelDraft({} as never), /a model that guesses/);
  assert.throws(() => customDraft(3 as never), /a function that guesses/);
  const session2 = await text({ draft: ngramDraft() });
  assert.is(session2.length > 0, true);
});

/** A model with some tokens of other names. */
async function renamedModel(names: readonly (string | undefined)[]): Promise<Model> {
  using model = await load();
  const given = (model.metadata.get("tokenizer.ggml.tokens") as MetadataArray).slice() as string[];
  const value = given.map((token, i) => names[i] ?? token);
  const metadata = { "tokenizer.ggml.tokens": { type: "array", of: "string", value } as const };
  return await loadModel(tinyModel({ metadata }), { threads: 1 });
}
drafts.run();
