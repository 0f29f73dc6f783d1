/** Banned strings: what is drawn instead, that nothing taken back is seen, and what goes wrong. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  customStage,
  EngineError,
  type GenerateOptions,
  greedy,
  loadModel,
  type Model,
  type SamplerStage,
  type Session,
  temperature,
  topK,
} from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const path = tinyModel({ context: 512 });
const prompt = Array.from({ length: 12 }, (_, i) => 3 + (i * 7) % 250);
const length = 40;

/** The text that each token adds; a byte of a longer character is one U+FFFD. */
function texts(model: Model): string[] {
  const [letter] = model.tokenize("q", { addSpecial: false }).slice(-1);
  return Array.from(
    { length: model.info.vocabulary },
    (_, token) => model.detokenize([letter as number, token]).slice(1),
  );
}

/** The definition: token by token, with sessions that are cut back by hand. */
async function expected(
  session: Session,
  pieces: readonly string[],
  banned: readonly string[],
  sampler: readonly SamplerStage[],
): Promise<{ tokens: number[]; backs: number }> {
  const tokens: number[] = [];
  const excluded = new Map<number, Set<number>>();
  let backs = 0;
  await session.prefill(prompt);
  while (tokens.length < length) {
    const here = excluded.get(tokens.length) ?? new Set();
    const exclude = customStage("exclude", ({ ids, logits }) => {
      for (const [i, id] of ids.entries()) if (here.has(id)) logits[i] = -Infinity;
    });
    const { token } = await session.step({ sampler: [exclude, ...sampler], seed: 5 });
    tokens.push(token);
    const text = tokens.map((id) => pieces[id]).join("");
    const places = banned.map((string) => text.indexOf(string)).filter((at) => at >= 0);
    if (places.length === 0) continue;
    backs += 1;
    let [at, end] = [-1, 0];
    while (end <= Math.min(...places)) end += (pieces[tokens[++at] as number] as string).length;
    for (const place of [...excluded.keys()]) if (place > at) excluded.delete(place);
    excluded.set(at, (excluded.get(at) ?? new Set()).add(tokens[at] as number));
    tokens.length = at;
    session.truncate(prompt.length + at);
  }
  return { tokens, backs };
}

const options = (
  sampler: readonly SamplerStage[],
  more: GenerateOptions = {},
): GenerateOptions => ({
  ...{ sampler, seed: 5, maxTokens: length, ignoreEnd: true, ...more },
});

const banned = suite("banned strings");

banned("tokens are those of the definition, and what is taken back is not seen", async () => {
  using model = await loadModel(path, { threads: 2 });
  using session = model.session();
  const pieces = texts(model);
  let far = 0;
  for (const sampler of [[greedy()], [temperature(1.5), topK(12)], [temperature(0.7)]]) {
    session.truncate(0);
    const plain = await Array.fromAsync(session.generate(prompt, options(sampler)));
    const text = plain.map(({ token }) => pieces[token]).join("");
    // Pieces of the text that would come, of which some span tokens, and single letters.
    const letters = new Set(text.match(/[\x20-\x7e]/g));
    const strings = [...text.match(/[\x20-\x7e]{2,3}/g) ?? [], ...[...letters].slice(0, 8)];
    assert.ok(strings.length > 1, JSON.stringify(text));
    session.truncate(0);
    const { tokens, backs } = await expected(session, pieces, strings, sampler);
    assert.ok(backs > 0);
    far += backs;
    session.truncate(0);
    const generation = session.generate(
      prompt,
      options(sampler, { bannedStrings: strings, trace: true, tape: true }),
    );
    const steps = await Array.fromAsync(generation);
    assert.equal(steps.map(({ token }) => token), tokens);
    assert.equal([...session.tokens.slice(prompt.length)], tokens);
    assert.equal(steps.map(({ position }) => position), tokens.map((_, i) => prompt.length + i));
    const shown = steps.map(({ text }) => text).join("");
    for (const string of strings) assert.not.ok(shown.includes(string), string);
    assert.equal([...generation.trace!.token], tokens);
    assert.is(generation.tape!.steps, tokens.length);
  }
  assert.ok(far > 5, `${far} times back`);
});

banned("many samples are those of the definition alone, and go on like others", async () => {
  using model = await loadModel(path, { threads: 2 });
  using session = model.session();
  const more = { bannedStrings: ["a", "e", " t", "he"] };
  const sampler = [temperature(1.2), topK(30)];
  const many = await session.sampleMany(prompt, { n: 5, ...options(sampler, more) }).collect();
  for (const { seed, tokens, text } of many) {
    session.truncate(0);
    const alone = await Array.fromAsync(
      session.generate(prompt, options(sampler, { ...more, seed })),
    );
    assert.equal(tokens, alone.map(({ token }) => token));
    assert.not.match(text, /a|e| t/);
    // The logits behind the last token are those of a session that never went back.
    using fresh = model.session();
    await session.prefill([3]);
    await fresh.prefill([...prompt, ...tokens, 3]);
    assert.equal(session.logits(), fresh.logits());
  }
});

banned("either case, held text at the end, and leaving early", async () => {
  using model = await loadModel(path, { threads: 2 });
  using session = model.session();
  const sampler = [temperature(2)];
  const given = options(sampler, { bannedStrings: ["A", "THE"], bannedIgnoreCase: true });
  const text = await session.generate(prompt, { ...given, maxTokens: 120 }).text();
  assert.not.match(text, /a|the/i);
  session.truncate(0);
  const one = await session.generate(prompt, { ...given, maxTokens: 1 }).text();
  session.truncate(0);
  // What is held back when the generation ends is no banned string, and shown.
  const held = await session.generate(prompt, {
    ...{ ...given, maxTokens: 1, bannedStrings: [`${one}zzz`, "\u{10ffff}"] },
  }).text();
  assert.is(held, one);
  session.truncate(0);
  let seen = 0;
  for await (const _ of session.generate(prompt, given)) if (++seen === 3) break;
  assert.is(session.position, prompt.length + 3);
});

banned("what is wrong is refused, and the session stays", async () => {
  using model = await loadModel(path, { threads: 1 });
  using session = model.session();
  const wrong = (bannedStrings: unknown) =>
    session.generate(prompt, { bannedStrings } as GenerateOptions);
  assert.throws(() => wrong("a"), /bannedStrings to be an array/);
  assert.throws(() => wrong([""]), /1 to 1024 bytes/);
  assert.throws(() => wrong(["x".repeat(1025)]), /1 to 1024 bytes/);
  // All tokens of one place are excluded.
  const only = customStage("only q", ({ ids, logits }) => {
    const [q] = model.tokenize("q", { addSpecial: false }).slice(-1);
    for (const [i, id] of ids.entries()) if (id !== q) logits[i] = -Infinity;
  });
  try {
    await session.generate(prompt, options([only], { bannedStrings: ["q"] })).text();
    assert.unreachable();
  } catch (error) {
    assert.instance(error, EngineError);
  }
  assert.is(session.position, 0);
  using shifting = model.session({ context: 64, shift: { keep: 4 } });
  try {
    await shifting.generate(prompt, options([greedy()], { bannedStrings: ["q"] })).text();
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /without context shift and eviction for banned strings/);
  }
});
banned.run();
