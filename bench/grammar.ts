/**
 * What a grammar costs in a whole generation: the same chain with a grammar and without, in turns, from the
 * request to its last token; the grammar is read and its masks are made anew in each.
 *
 * usage: bun run bench/grammar.ts [MODEL] [--rounds 15] [--tokens 96] [--json]
 *        deno run -A bench/grammar.ts …
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { note, print, printJson, table } from "../cli/output.ts";
import { type GenerateOptions, grammar, jsonSchema, loadModel, temperature, topK } from "../mod.ts";
import { rates, spread } from "./statistics.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "15" },
    tokens: { type: "string", default: "96" },
    json: { type: "boolean", default: false },
  },
});
const [rounds, tokens] = [Number(values.rounds), Number(values.tokens)];
if (![rounds, tokens].every((n) => Number.isInteger(n) && n > 0)) {
  throw new RangeError(`Expected whole numbers, but found ${values.rounds} and ${values.tokens}`);
}

const chain = [topK(40), temperature(0.8)];
/** Never ends before the tokens do. */
const list = {
  type: "array",
  minItems: 1000,
  items: {
    type: "object",
    properties: { name: { type: "string" }, size: { type: "number" }, far: { type: "boolean" } },
    required: ["name", "size", "far"],
    additionalProperties: false,
  },
};
/** The first is none. */
const ways: readonly (readonly [name: string, sampler: GenerateOptions["sampler"]])[] = [
  ["no grammar", chain],
  ["any text", [grammar("root ::= .*"), ...chain]],
  ["JSON by a schema", [jsonSchema(list), ...chain]],
];

using model = await loadModel(positionals[0] ?? "smollm2");
using session = model.session({ context: 96 + tokens });
await session.prefill("Ships and lighthouses as a list in JSON: ");
const prompt = session.position;
const times = ways.map((): number[] => []);
for (let round = 0; round <= rounds; round++) {
  for (let i = 0; i < ways.length; i++) {
    // Who begins takes turns, too.
    const way = (i + round) % ways.length;
    session.truncate(prompt);
    // One token, with which the prompt's last is read again: no part of what is measured.
    await session.step({ sampler: chain, seed: round });
    const begun = performance.now();
    const options = { sampler: ways[way]![1], seed: round, maxTokens: tokens, ignoreEnd: true };
    await session.generate("", options).text();
    const ms = performance.now() - begun;
    const found = session.position - prompt - 1;
    if (found !== tokens) throw new Error(`Expected ${tokens} tokens, but found ${found}`);
    // The first of each pays for the vocabulary's tree.
    if (round > 0) times[way]!.push(ms);
  }
  note(`\r${round} of ${rounds} rounds`);
}
note("\n");
const rows = ways.map(([name], way) => ({
  name,
  rate: rates(times[way]!, tokens),
  slower: spread(times[way]!.map((ms, round) => ms / times[0]![round]! - 1)),
}));
if (values.json) printJson({ tokens, rounds, vocabulary: model.info.logits, rows });
else {
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  print(table([
    ["", "tok/s", "slower, median of pairs", "least", "most"],
    ...rows.map(({ name, rate, slower }) => [
      name,
      rate.median.toFixed(1),
      ...[slower.median, slower.min, slower.max].map(percent),
    ]),
  ]));
}
