/**
 * A search for the most probable continuation of a prompt, over forks of one session: in every round
 * the best branches fork into their likeliest next tokens, which are evaluated together. What the
 * branches have in common is in memory once.
 *
 * bun run examples/tree_search.ts     deno run --allow-all examples/tree_search.ts
 */
import process from "node:process";
import { loadModel, type Session } from "../mod.ts";

const width = 4;
const depth = 12;

interface Branch {
  readonly session: Session;
  /** ln of the probability of all tokens behind the prompt. */
  readonly logprob: number;
}

/** The likeliest next tokens with the natural logarithms of their probabilities. */
function likeliest(logits: Float32Array, count: number): { token: number; logprob: number }[] {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const total = top + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
  const tokens = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!);
  return tokens.slice(0, count).map((token) => ({ token, logprob: logits[token]! - total }));
}

using model = await loadModel("smollm2");
using prompt = model.session({ context: 512 });
await prompt.prefill(
  "The old lighthouse keeper had not spoken to anybody since the winter storms began. Every evening " +
    "he climbed the narrow stairs, lit the lamp, and wrote one line into the book that lay beside it. " +
    "On the last evening of the year a small boat came out of the fog, and the woman who sat in it " +
    "asked him whether he remembered her. He looked at her for a long time, and then he",
);
const begin = prompt.position;

let branches: Branch[] = [{ session: prompt.fork(), logprob: 0 }];
for (let round = 0; round < depth; round++) {
  const candidates = branches.flatMap(({ session, logprob }) =>
    likeliest(session.logits(), width).map((next) => ({
      session,
      token: next.token,
      logprob: logprob + next.logprob,
    }))
  );
  const chosen = candidates.sort((a, b) => b.logprob - a.logprob).slice(0, width);
  const grown = chosen.map(({ session, logprob }) => ({ session: session.fork(), logprob }));
  await Promise.all(grown.map(({ session }, i) => session.prefill([chosen[i]!.token])));
  for (const { session } of branches) session.dispose();
  branches = grown;
}

for (const { session, logprob } of branches) {
  const text = model.detokenize(session.tokens.subarray(begin));
  const { used, shared } = session.kv.pages;
  process.stdout.write(
    `${logprob.toFixed(3)} …${text}… (${shared} of ${used} pages shared)\n`,
  );
  session.dispose();
}
