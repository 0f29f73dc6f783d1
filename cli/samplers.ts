/**
 * `vitrine samplers`: what samplers do to texts, side by side.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import {
  compareSamplers,
  formatSampler,
  type Model,
  parseSampler,
  samplerChart,
  type SamplerComparison,
  samplerTable,
} from "../mod.ts";
import { samplerMeasures } from "../src/internal/sampler_measures.ts";
import { splitOutside } from "../src/internal/split_outside.ts";
import { nearest } from "../src/store/nearest.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { interruptSignal, loadOptions, openModel } from "./model.ts";
import { note, print, printJson, ProgressBar, snakeCase } from "./output.ts";
import { seedOf } from "./sampling.ts";
import { readText } from "./tokenize.ts";

const tokensDefault = 128;
/** Tokens before each piece of a reference text, as many as a short prompt has. */
const openingTokens = 16;
const chainsDefault = "greedy;temp=0.7;temp=1;top-p=0.95;min-p=0.1";

const measures = ["perplexity", ...Object.keys(samplerMeasures(1))];

/** The command. */
export const samplers: Command = {
  name: "samplers",
  summary: "compare samplers: perplexity, repetition, diversity, with intervals",
  usage: "MODEL compare --file F",
  description: [
    "Continues each prompt of the file, one on each line, with every sampler: the same number of trials",
    "and the same seeds for all. The table has means over the prompts, with the ends of their bootstrap",
    "intervals; --json has more measures, differences from the first sampler prompt by prompt, and the",
    "figures of all texts together. --reference shows beside them what a text has that no sampler wrote.",
  ],
  options: {
    file: { short: "f", value: "F", help: "the prompts, one on each line" },
    samplers: {
      value: "LIST",
      help: `chains as --sampler of run takes them, separated by ;  default: ${chainsDefault}`,
    },
    trials: { value: "N", help: "continuations of each prompt by each sampler; default: 8" },
    tokens: { short: "n", value: "N", help: `tokens of a continuation; default: ${tokensDefault}` },
    seed: { value: "S", help: "seed of the first trial; default: 0" },
    reference: {
      value: "F",
      help: "a text to compare with, of a person for example; pieces of --tokens tokens of it",
    },
    confidence: { value: "X", help: "of the intervals; default: 0.95" },
    svg: { value: "FILE", help: "draw the intervals of --measure there" },
    measure: { value: "NAME", help: "the measure of the chart, as in mod.ts; default: perplexity" },
    ...loadOptions,
    ...commonOptions,
  },
  positionals: [2, 2],
  run: async (given) => {
    const [ref, action] = given.positionals as [string, string];
    if (action !== "compare") {
      const near = nearest(action, ["compare"]);
      throw new UsageError(
        `Expected compare after the model, but found ${JSON.stringify(action)}${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    const file = given.text("file");
    if (file === undefined) throw new UsageError("Expected --file with prompts, but found none");
    const prompts = readText(file).split(/\r?\n/).filter((line) => line.trim() !== "");
    if (prompts.length === 0) throw new UsageError(`Expected prompts in ${file}, but found none`);
    const chains = chainsOf(given);
    const measure = given.choice("measure", measures) ?? "perplexity";
    const signal = interruptSignal();
    using model = await openModel(ref, given, { signal });
    const maxTokens = given.integer("tokens", 1, 1 << 20);
    const reference = referenceOf(model, given.text("reference"), maxTokens ?? tokensDefault);
    const bar = new ProgressBar((value) => `${value} texts`);
    let found;
    try {
      found = await compareSamplers(model, prompts, chains, {
        trials: given.integer("trials", 1, 4000),
        ...{ maxTokens, reference },
        seed: seedOf(given),
        confidence: given.number("confidence"),
        signal,
        onProgress: ({ done, total }) => bar.show("generating", done, total),
      });
    } finally {
      bar.end();
    }
    const svg = given.text("svg");
    if (svg !== undefined) writeFileSync(svg, samplerChart(found, measure));
    if (given.has("json")) {
      printJson(jsonOf(found));
      return 0;
    }
    print(samplerTable(found));
    note(
      `${found.prompts} prompts, ${found.trials} trials each, ${found.maxTokens} tokens, ` +
        `seed ${found.seed}; intervals of ${100 * found.confidence} %\n`,
    );
    return 0;
  },
};

/** The chains by their canonical forms, which are their names. */
function chainsOf(given: Arguments): Record<string, string> {
  const chains: Record<string, string> = {};
  for (const text of splitOutside(given.text("samplers") ?? chainsDefault, ";")) {
    const name = formatSampler(parseSampler(text));
    if (name in chains) {
      throw new UsageError(`Expected each sampler once, but found "${name}" twice`);
    }
    chains[name] = name;
  }
  return chains;
}

/** Pieces of a text, each behind some tokens that stand before it. */
function referenceOf(
  model: Model,
  file: string | undefined,
  tokens: number,
): Uint32Array[] | undefined {
  if (file === undefined) return undefined;
  const all = model.tokenize(readText(file), { addSpecial: false, parseSpecial: false });
  const pieces: Uint32Array[] = [];
  for (let from = openingTokens; from + tokens <= all.length; from += tokens) {
    pieces.push(all.slice(from - openingTokens, from + tokens));
  }
  if (pieces.length > 0) return pieces;
  throw new UsageError(
    `Expected a text of at least ${
      openingTokens + tokens
    } tokens in ${file}, but found ${all.length}`,
  );
}

/** With the underscores of the command line's JSON. */
function jsonOf(found: SamplerComparison): Record<string, unknown> {
  return {
    ...snakeCase(found),
    samplers: found.samplers.map((row) => ({
      ...snakeCase(row),
      measures: snakeCase(row.measures),
      differences: snakeCase(row.differences),
    })),
    ...(found.reference !== undefined && {
      reference: {
        texts: found.reference.texts,
        measures: snakeCase(found.reference.measures),
        nearest: snakeCase(found.reference.nearest),
      },
    }),
  };
}
