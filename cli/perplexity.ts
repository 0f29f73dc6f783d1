/**
 * `vitrine perplexity`: how well a model predicts a text.
 *
 * @module
 */

import { perplexity as measure } from "../mod.ts";
import { UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import {
  interruptSignal,
  loadOptions,
  openModel,
  sessionOptions,
  sessionSettings,
} from "./model.ts";
import { figure, note, perSecond, print, printJson, ProgressBar } from "./output.ts";
import { readText } from "./tokenize.ts";

const contextDefault = 512;

/** The command. */
export const perplexity: Command = {
  name: "perplexity",
  summary: "measure how well a model predicts a text",
  usage: "MODEL --file F",
  description: [
    "Reads the text in chunks of --ctx tokens, each on its own, and takes the mean of the negative",
    "log-likelihood (nats) over every token that is predicted: all but the first of each chunk. Where",
    "the model puts a token at the beginning of a text, each chunk begins with it.",
  ],
  options: {
    file: { short: "f", value: "F", help: "the text" },
    tokens: { short: "n", value: "N", help: "read only the first N tokens" },
    ...loadOptions,
    ...sessionOptions,
    ctx: { value: "N", help: `tokens in a chunk; default: ${contextDefault}` },
    ...commonOptions,
  },
  positionals: [1, 1],
  run: async (given) => {
    const file = given.text("file");
    if (file === undefined) throw new UsageError("Expected --file with a text, but found none");
    const text = readText(file);
    const most = given.integer("tokens", 2);
    const context = given.integer("ctx", 2, 1 << 20) ?? contextDefault;
    const signal = interruptSignal();
    using model = await openModel(given.positionals[0] as string, given, { signal });
    const tokens = model.tokenize(text, { parseSpecial: false }).slice(0, most);
    const bar = new ProgressBar((value) => `${value} tokens`);
    const begun = performance.now();
    let found;
    try {
      const { kv } = sessionSettings(given);
      const onProgress = ({ done, total }: { done: number; total: number }) =>
        bar.show("reading", done, total);
      found = await measure(model, tokens, { context, kv, signal, onProgress });
    } finally {
      bar.end();
    }
    const rate = perSecond(found.tokens, performance.now() - begun);
    if (given.has("json")) {
      printJson({
        nll: found.nll,
        perplexity: found.perplexity,
        tokens: found.tokens,
        chunks: found.chunks,
        ctx: context,
        tok_s: rate,
      });
    } else {
      print(
        `perplexity ${found.perplexity.toFixed(4)}  nll ${found.nll.toFixed(6)} nats  ` +
          `${found.tokens} tokens\n`,
      );
      note(`${found.chunks} chunks of ${context} tokens, ${figure(rate)} tok/s\n`);
    }
    return 0;
  },
};
