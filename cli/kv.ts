/**
 * `vitrine kv`: what the KV cache takes, what is in it, and what a narrower one costs.
 *
 * @module
 */

import { nearest } from "../src/store/nearest.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { compareAction } from "./kv_compare.ts";
import { diffAction } from "./kv_diff.ts";
import { dumpAction } from "./kv_dump.ts";
import { ledgerAction } from "./kv_ledger.ts";
import { searchAction } from "./kv_search.ts";
import { interruptSignal, loadOptions, sessionOptions } from "./model.ts";

/** One of the things that `kv` does. */
export interface KvAction {
  /** The options that it takes, beside those of every action. */
  readonly options: readonly string[];
  /** Checks the options, and returns what does it. */
  readonly prepare: (ref: string, given: Arguments) => (signal: AbortSignal) => Promise<void>;
}

const actions: Readonly<Record<string, KvAction>> = {
  ledger: ledgerAction,
  compare: compareAction,
  search: searchAction,
  dump: dumpAction,
  diff: diffAction,
};

const common = ["file", "tokens", "svg", ...Object.keys({ ...loadOptions, ...commonOptions })];

/** The command. */
export const kv: Command = {
  name: "kv",
  summary: "account for the KV cache, look into it, compare its formats, search for a policy",
  usage: "MODEL ledger|compare|search|dump|diff --file F",
  description: [
    "ledger   reads the text and says where the cache's bytes are: keys, values, scales, room in pages,",
    "         free pages; --json and --svg have them over time, too.",
    "compare  reads the text with several formats side by side and says how far the predictions are from",
    "         those of --reference: KL divergence (nats a token), share of equal best tokens, perplexity,",
    "         bits per value with scales, and decoded tokens per second. --precision float keeps the",
    "         rounding of activations out of it.",
    "search   looks for the layers whose keys or values can be narrower, within --kl or --bytes, and",
    "         prints the frontier and the policy.",
    "dump     writes the keys and values that --which, --layer, --head, --from and --to choose, as CSV,",
    "         JSON or numpy's array file, by the ending of --out. --view: decoded (default), unrotated",
    "         (keys before their rotary embedding) or raw (codes and scales, as they are stored).",
    "diff     reads the text with the caches of --reference and --formats and says how far the latter is",
    "         off, by layer and head: kv MODEL diff --file F --formats q8_0. Or compares two saved",
    "         sessions: kv A.session diff B.session.",
    "dump and diff take a saved session in place of MODEL: they need neither the model nor a text.",
  ],
  options: {
    file: { short: "f", value: "F", help: "the text" },
    tokens: { short: "n", value: "N", help: "read only the first N tokens" },
    formats: {
      value: "LIST",
      help:
        "compare: KEY, KEY/VALUE or FILE.json of a policy, separated by commas; search: formats; diff: one",
    },
    reference: {
      value: "F",
      help: "compare, search, diff: what it is measured against; default: f32",
    },
    layers: { help: "ledger, compare: print one row a layer too" },
    kl: { value: "X", help: "search: the smallest cache of a mean KL divergence up to X nats" },
    bytes: { value: "N", help: "search: the nearest cache of N bytes at most, for --ctx tokens" },
    which: { value: "W", help: "dump, diff: key or value; default: both" },
    layer: { value: "LIST", help: "dump, diff: layers, as in 0,4-7; default: all" },
    head: { value: "LIST", help: "dump, diff: KV heads; default: all" },
    from: { value: "N", help: "dump, diff: the first position; default: 0" },
    to: { value: "N", help: "dump, diff: up to this position, without it; default: all" },
    view: { value: "V", help: "dump: decoded (default), unrotated or raw" },
    sequence: { value: "N", help: "dump, diff: which sequence of saved sessions; default: 0" },
    out: { short: "o", value: "FILE", help: "search: the policy; dump: FILE.csv, .json or .npy" },
    svg: { value: "FILE", help: "draw a chart there" },
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [2, 3],
  run: async (given) => {
    const [ref, name, extra] = given.positionals as [string, string, string | undefined];
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
    if (extra !== undefined && name !== "diff") {
      throw new UsageError(`Expected nothing after ${name}, but found ${JSON.stringify(extra)}`);
    }
    const known = [...common, ...action.options];
    const foreign = given.order.find((option) => !known.includes(option));
    if (foreign !== undefined) {
      throw new UsageError(`Expected an option of kv ${name}, but found --${foreign}`);
    }
    await action.prepare(ref, given)(interruptSignal());
    return 0;
  },
};
