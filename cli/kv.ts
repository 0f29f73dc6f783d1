/**
 * `vitrine kv`: what the KV cache takes, and what a narrower one costs.
 *
 * @module
 */

import type { Model } from "../mod.ts";
import { nearest } from "../src/store/nearest.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { cachesOf, compare } from "./kv_compare.ts";
import { ledger } from "./kv_ledger.ts";
import { search, searchRequest } from "./kv_search.ts";
import { interruptSignal, loadOptions, openModel, sessionOptions } from "./model.ts";
import { readText } from "./tokenize.ts";

/** What is done with the text, once the options are read. */
type Action = (model: Model, tokens: Uint32Array, signal: AbortSignal) => Promise<void>;

/** Each checks its options and says what to do. */
const actions: Readonly<Record<string, (given: Arguments) => Action>> = {
  ledger: (given) => (model, tokens, signal) => ledger(model, tokens, given, signal),
  compare: (given) => {
    const caches = cachesOf(given);
    return (model, tokens, signal) => compare(model, tokens, caches, given, signal);
  },
  search: (given) => {
    const request = searchRequest(given);
    return (model, tokens, signal) => search(model, tokens, request, given, signal);
  },
};

/** The command. */
export const kv: Command = {
  name: "kv",
  summary: "account for the KV cache, compare its formats, search for a policy",
  usage: "MODEL ledger|compare|search --file F",
  description: [
    "ledger   reads the text and says where the cache's bytes are: keys, values, scales, room in pages,",
    "         free pages.",
    "compare  reads the text with several formats side by side and says how far the predictions are from",
    "         those of --reference: KL divergence (nats a token), share of equal best tokens, perplexity,",
    "         bits per value with scales, and decoded tokens per second. --precision float keeps the",
    "         rounding of activations out of it.",
    "search   looks for the layers whose keys or values can be narrower, within --kl or --bytes, and",
    "         prints the frontier and the policy.",
  ],
  options: {
    file: { short: "f", value: "F", help: "the text" },
    tokens: { short: "n", value: "N", help: "read only the first N tokens" },
    formats: {
      value: "LIST",
      help:
        "compare: KEY, KEY/VALUE or FILE.json of a policy, separated by commas; search: formats",
    },
    reference: { value: "F", help: "compare, search: what it is measured against; default: f32" },
    layers: { help: "ledger, compare: print one row a layer too" },
    kl: { value: "X", help: "search: the smallest cache of a mean KL divergence up to X nats" },
    bytes: { value: "N", help: "search: the nearest cache of N bytes at most, for --ctx tokens" },
    out: { short: "o", value: "FILE", help: "search: write the policy there" },
    svg: { value: "FILE", help: "search: draw the measured caches there" },
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [2, 2],
  run: async (given) => {
    const [ref, name] = given.positionals as [string, string];
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (action === undefined) {
      const names = Object.keys(actions);
      const near = nearest(name, names);
      throw new UsageError(
        `Expected ${names.join(" or ")} after the model, but found ${JSON.stringify(name)}${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    const file = given.text("file");
    if (file === undefined) throw new UsageError("Expected --file with a text, but found none");
    const text = readText(file);
    const most = given.integer("tokens", 2);
    const run = action(given);
    const signal = interruptSignal();
    using model = await openModel(ref, given, { signal });
    await run(model, model.tokenize(text, { parseSpecial: false }).slice(0, most), signal);
    return 0;
  },
};
