/**
 * What the KV cache saves: a text generated with it, against the same text with every token's past
 * computed anew.
 *
 * usage: bun run bench/recompute.ts [MODEL] [--prompt 512] [--tokens 100] [--json]
 *        deno run -A bench/recompute.ts …
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { greedy, loadModel, type Model, type Session } from "../mod.ts";
import { print, printJson, ProgressBar, table } from "../cli/output.ts";

/** A way to generate the text. */
interface Way {
  readonly tokens: readonly number[];
  /** Tokens that went through the model, as the engine counted them. */
  readonly passes: number;
  readonly ms: number;
}

/** Reads the prompt once, then one token at a time. */
async function cached(session: Session, prompt: Uint32Array, count: number): Promise<Way> {
  const begun = performance.now();
  const tokens: number[] = [];
  const options = { sampler: [greedy()], maxTokens: count, ignoreEnd: true };
  for await (const step of session.generate(prompt, options)) tokens.push(step.token);
  const { prefillTokens, decodeTokens } = session.stats;
  return { tokens, passes: prefillTokens + decodeTokens, ms: performance.now() - begun };
}

/** Reads everything anew for each token. */
async function recomputed(
  session: Session,
  prompt: Uint32Array,
  count: number,
  onToken: (done: number) => void,
): Promise<Way> {
  const begun = performance.now();
  const tokens: number[] = [];
  let passes = 0;
  while (tokens.length < count) {
    session.truncate(0);
    await session.prefill([...prompt, ...tokens]);
    passes += session.stats.prefillTokens;
    const logits = session.logits();
    tokens.push(logits.indexOf(logits.reduce((most, logit) => Math.max(most, logit))));
    onToken(tokens.length);
  }
  return { tokens, passes, ms: performance.now() - begun };
}

/** A prompt of so many tokens, the same in every run. */
function promptOf(model: Model, length: number): Uint32Array {
  const text = model.tokenize("The sea was calm, and the ship went on. ".repeat(length));
  return text.slice(0, length);
}

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    prompt: { type: "string", default: "512" },
    tokens: { type: "string", default: "100" },
    json: { type: "boolean", default: false },
  },
});
const [promptLength, count] = [values.prompt, values.tokens].map(Number) as [number, number];
if (![promptLength, count].every((n) => Number.isInteger(n) && n > 0)) {
  throw new RangeError(
    `Expected whole numbers of tokens, but found ${values.prompt} and ${values.tokens}`,
  );
}
using model = await loadModel(positionals[0] ?? "smollm2");
using session = model.session({ context: promptLength + count });
const prompt = promptOf(model, promptLength);
const bar = new ProgressBar((value) => `${value} tokens`);
const withCache = await cached(session, prompt, count);
const without = await recomputed(
  session,
  prompt,
  count,
  (done) => bar.show("recomputing", done, count),
);
bar.end();
const same = withCache.tokens.every((token, i) => token === without.tokens[i]);
if (values.json) {
  printJson({ prompt: promptLength, same, cached: withCache, recomputed: without });
} else {
  const row = (name: string, { passes, ms }: Way) => [name, String(passes), `${ms.toFixed(0)} ms`];
  print(table([
    ["", "token passes", "time"],
    row("with the cache", withCache),
    row("recomputed", without),
    [
      "ratio",
      (without.passes / withCache.passes).toFixed(1),
      (without.ms / withCache.ms).toFixed(1),
    ],
  ]));
  print(same ? "both wrote the same tokens\n" : "the tokens differ\n");
}
process.exitCode = same ? 0 : 1;
