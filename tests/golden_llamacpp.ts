/**
 * A real model against llama.cpp: tokens, next-token distributions, greedy continuations and the
 * nll of a text. `tools/golden_llamacpp.py` made the references and describes the files.
 *
 * There are two references. `float` is llama.cpp over the same weights decoded to f32; `plain` is
 * llama.cpp over the file itself, where it rounds activations to 8 bits. By itself that rounding
 * moves the next-token distribution by 0.003 nat (SmolLM2) and 0.0095 nat (Gemma) on average, which
 * is why our float path is held to `float` with a bound that no bug can hide under, and our int8
 * path, which rounds in its own way, to the bound of 0.005 nat on average.
 *
 * The models are fetched through the store, into the cache that the command line uses as well. A
 * model that cannot be fetched is skipped, and the reason is printed; VITRINE_GOLDEN_MODELS, a list
 * with commas, leaves models out.
 */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  greedy,
  loadModel,
  type Model,
  type Precision,
  resolveModel,
  type Session,
} from "../mod.ts";

const folder = join(dirname(fileURLToPath(import.meta.url)), "golden");

interface Continuation {
  readonly tokens: number[];
  /** Difference of the best two log-probabilities at each step, in nats. */
  readonly gaps: number[];
}

interface Prompt {
  readonly name: string;
  readonly tokens: number[];
  readonly tokens_plain: number[];
  readonly greedy: { readonly float: Continuation; readonly plain: Continuation };
  readonly plain_kl: number;
  readonly rows: { readonly reference: "float" | "plain"; readonly consumed: number }[];
}

interface Golden {
  readonly n_vocab: number;
  readonly text_nll: { readonly tokens: number; readonly float: number; readonly plain: number };
  readonly prompts: Prompt[];
}

/** A recorded distribution: its best tokens, and tokens drawn from the rest. */
interface Row {
  readonly top: number;
  readonly tail: number;
  readonly ids: Uint32Array;
  readonly logprobs: Float32Array;
}

/** What a path of ours is allowed, in nats, and how much of it is measured. */
export interface Bounds {
  /** Of KL(reference || ours) of the next token, against `float`: on average, and for any row. */
  readonly klMean: number;
  readonly klMax: number;
  /** Of the average against `plain`, where llama.cpp's own rounding comes on top of ours. */
  readonly plainMean: number;
  /** Of the mean nll of the text; without it the nll isn't measured. */
  readonly nll?: number;
  /** Every n-th prompt is compared, and of those every third through its continuation. */
  readonly every: number;
}

const texts = JSON.parse(readFileSync(join(folder, "prompts.json"), "utf8")) as {
  prompts: { name: string; text: string }[];
  perplexity_text: string;
};

/** A gap under this is a near tie: what follows depends on rounding (DESIGN.md). */
const nearTie = 0.1;
/** The last recorded row stands behind this many greedy tokens. */
const forcedMax = 24;
const rowIds = 256;
const rowBytes = 8 + rowIds * 8;

function readRows(name: string): Row[] {
  const bytes = readFileSync(join(folder, `llamacpp_${name}.rows`));
  assert.is(bytes.length % rowBytes, 0);
  return Array.from({ length: bytes.length / rowBytes }, (_, index) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + index * rowBytes, rowBytes);
    return {
      top: view.getUint32(0, true),
      tail: view.getFloat32(4, true),
      ids: Uint32Array.from({ length: rowIds }, (_, i) => view.getUint32(8 + 4 * i, true)),
      logprobs: Float32Array.from(
        { length: rowIds },
        (_, i) => view.getFloat32(8 + 4 * rowIds + 4 * i, true),
      ),
    };
  });
}

function logSumExp(logits: Float32Array): number {
  let most = -Infinity;
  for (const value of logits) if (value > most) most = value;
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - most);
  return most + Math.log(sum);
}

/** KL(recorded || ours), in nats; the sum is explained in `tools/golden_llamacpp.py`. */
function divergence(row: Row, logits: Float32Array): number {
  const total = logSumExp(logits);
  let sum = 0;
  row.ids.forEach((id, i) => {
    const logP = row.logprobs[i] as number;
    const logQ = (logits[id] as number) - total;
    const perP = logP - logQ - 1 + Math.exp(logQ - logP);
    sum += i < row.top ? Math.exp(logP) * perP : (row.tail / (rowIds - row.top)) * perP;
  });
  return sum;
}

/** The best two tokens. */
function bestTwo(logits: Float32Array): { best: number; gap: number } {
  let best = 0;
  let second = -1;
  for (let id = 1; id < logits.length; id++) {
    const value = logits[id] as number;
    if (value > (logits[best] as number)) {
      second = best;
      best = id;
    } else if (second < 0 || value > (logits[second] as number)) second = id;
  }
  return { best, gap: (logits[best] as number) - (logits[second] as number) };
}

const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Logits behind the prompt and behind each forced token: [forced.length + 1, vocabulary]. */
async function teacherForced(
  session: Session,
  tokens: number[],
  forced: number[],
): Promise<Float32Array[]> {
  session.truncate(0);
  await session.prefill(tokens);
  const rows = [session.logits()];
  if (forced.length === 0) return rows;
  await session.prefill(forced, { allLogits: true });
  for (let i = 0; i < forced.length; i++) rows.push(session.logits(i));
  return rows;
}

interface Measured {
  /** KL against the rows of each reference. */
  readonly kl: { readonly float: number[]; readonly plain: number[] };
  /** Greedy steps compared, and those that differ where there was no near tie. */
  steps: number;
  readonly differing: string[];
}

/**
 * Compares the first row of every n-th prompt, and for every third of those the rows within its
 * greedy continuation and the greedy choices up to the first near tie: all of them would take
 * minutes.
 */
async function measure(
  golden: Golden,
  rows: Row[],
  session: Session,
  every: number,
): Promise<Measured> {
  const measured: Measured = { kl: { float: [], plain: [] }, steps: 0, differing: [] };
  let next = 0;
  for (const [index, prompt] of golden.prompts.entries()) {
    if (index % every !== 0) {
      next += prompt.rows.length;
      continue;
    }
    const { tokens, gaps } = prompt.greedy.float;
    const forced = index % (3 * every) === 0 ? tokens.slice(0, forcedMax) : [];
    const logits = await teacherForced(session, prompt.tokens, forced);
    for (const { reference, consumed } of prompt.rows) {
      const row = rows[next++] as Row;
      const ours = logits[consumed - prompt.tokens.length];
      if (ours !== undefined) measured.kl[reference].push(divergence(row, ours));
    }
    for (let i = 0; i < Math.min(logits.length, tokens.length); i++) {
      const { best, gap } = bestTwo(logits[i] as Float32Array);
      if (Math.min(gap, gaps[i] as number) < nearTie) break;
      measured.steps += 1;
      if (best === tokens[i]) continue;
      measured.differing.push(`${prompt.name}, step ${i}: expected ${tokens[i]}, found ${best}`);
      break;
    }
  }
  assert.is(next, rows.length);
  return measured;
}

const figure = (value: number) => value.toPrecision(3);

/** The tests of one model under one precision. */
function precisionTests(
  test: ReturnType<typeof suite>,
  name: string,
  precision: Precision,
  bounds: Bounds,
  path: string,
): void {
  let model: Model | undefined;
  const golden = JSON.parse(readFileSync(join(folder, `llamacpp_${name}.json`), "utf8")) as Golden;
  const say = (text: string) => process.stdout.write(`${name} ${precision}: ${text}\n`);
  const open = async () => model ??= await loadModel(path, { precision });

  test(`${name}: next tokens and greedy text, ${precision}`, async () => {
    const opened = await open();
    using session = opened.session({ context: 512, kv: { key: "f32", value: "f32" } });
    const { kl, steps, differing } = await measure(golden, readRows(name), session, bounds.every);
    const [float, plain] = [mean(kl.float), mean(kl.plain)];
    const own = mean(golden.prompts.map((prompt) => prompt.plain_kl));
    say(
      `KL to llama.cpp in float mean ${figure(float)} max ${figure(Math.max(...kl.float))}, ` +
        `to llama.cpp ${figure(plain)} max ${figure(Math.max(...kl.plain))} ` +
        `(its own rounding: ${figure(own)}); ` +
        `${steps} greedy steps before near ties, ${differing.length} differ`,
    );
    assert.ok(kl.float.length >= 20 / bounds.every);
    assert.ok(steps >= 20 / bounds.every);
    assert.ok(float <= bounds.klMean, `mean KL ${float}`);
    assert.ok(Math.max(...kl.float) <= bounds.klMax, `largest KL ${Math.max(...kl.float)}`);
    assert.ok(plain <= bounds.plainMean, `mean KL to llama.cpp as it is ${plain}`);
    assert.equal(differing, []);
  });

  const nllBound = bounds.nll;
  if (nllBound !== undefined) {
    test(`${name}: nll of a text, ${precision}`, async () => {
      const opened = await open();
      using session = opened.session({ context: 512, kv: { key: "f32", value: "f32" } });
      const scores = await session.score([...opened.tokenize(texts.perplexity_text)]);
      assert.is(scores.length, golden.text_nll.tokens);
      const nll = -mean([...scores.subarray(1)]);
      say(
        `nll ${
          nll.toFixed(5)
        }, llama.cpp ${golden.text_nll.float} in float, ${golden.text_nll.plain}`,
      );
      assert.ok(Math.abs(nll - golden.text_nll.float) <= nllBound, `nll ${nll}`);
    });
  }

  test.after(() => model?.dispose());
}

/** The path of a model, or why there is none. */
async function find(name: string): Promise<{ path: string } | { reason: string }> {
  const wanted = process.env["VITRINE_GOLDEN_MODELS"]?.split(",");
  if (wanted !== undefined && !wanted.includes(name)) {
    return { reason: "VITRINE_GOLDEN_MODELS does not name it" };
  }
  try {
    return { path: await resolveModel(name) };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    // A model that came and is not what it should be is a failure, not a reason to skip.
    if (error.code === "invalid-file") throw error;
    return { reason: `the model cannot be fetched: ${error.message}` };
  }
}

/** Fetches a model where needed and registers all its tests. */
export async function modelTests(name: string, float: Bounds, int8: Bounds): Promise<void> {
  const test = suite(`llama.cpp ${name}`);
  const golden = JSON.parse(readFileSync(join(folder, `llamacpp_${name}.json`), "utf8")) as Golden;
  const found = await find(name);
  if ("reason" in found) {
    process.stdout.write(`${name}: skipped, ${found.reason}\n`);
    test.skip(`${name} against llama.cpp`);
    test.run();
    return;
  }
  const { path } = found;

  test(`${name}: tokens of every prompt`, async () => {
    using model = await loadModel(path, { vocabularyOnly: true });
    assert.is(model.info.vocabulary, golden.n_vocab);
    assert.ok(golden.prompts.length >= 20);
    for (const prompt of golden.prompts) {
      const text = texts.prompts.find(({ name }) => name === prompt.name)?.text;
      assert.type(text, "string");
      assert.equal([...model.tokenize(text as string)], prompt.tokens, prompt.name);
      const plain = model.tokenize(text as string, { addSpecial: false, parseSpecial: false });
      assert.equal([...plain], prompt.tokens_plain, prompt.name);
    }
  });

  test(`${name}: generation is the greedy choice of the rows`, async () => {
    using model = await loadModel(path, { precision: "float" });
    for (const prompt of golden.prompts.slice(0, 1)) {
      using session = model.session({ context: 512, kv: { key: "f32", value: "f32" } });
      const { tokens, gaps } = prompt.greedy.float;
      const found: number[] = [];
      const options = { sampler: [greedy()], maxTokens: tokens.length, topLogprobs: 2 };
      const ties: boolean[] = [];
      for await (const step of session.generate(prompt.tokens, options)) {
        const [first, second] = step.top;
        assert.is(first?.token, step.token);
        ties.push((first?.logprob ?? 0) - (second?.logprob ?? 0) < nearTie);
        found.push(step.token);
      }
      const tie = tokens.findIndex((_, i) => ties[i] === true || (gaps[i] as number) < nearTie);
      const end = tie < 0 ? tokens.length : tie;
      assert.equal(found.slice(0, end), tokens.slice(0, end), prompt.name);
    }
  });

  precisionTests(test, name, "float", float, path);
  precisionTests(test, name, "int8", int8, path);
  test.run();
}
