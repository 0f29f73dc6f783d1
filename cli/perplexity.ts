/**
 * `vitrine perplexity`: how well a model predicts a text.
 *
 * @module
 */

import { EngineError, type Model, type Session } from "../mod.ts";
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
    const chunks = chunksOf(model, text, most, context);
    if (chunks.length === 0) {
      throw new UsageError(`Expected a text of at least two tokens in ${file}, but found fewer`);
    }
    using session = model.session({ ...sessionSettings(given), context });
    const begun = performance.now();
    const { nll, tokens } = await measure(session, chunks, signal);
    const rate = perSecond(tokens, performance.now() - begun);
    if (given.has("json")) {
      printJson({
        nll,
        perplexity: Math.exp(nll),
        tokens,
        chunks: chunks.length,
        ctx: context,
        tok_s: rate,
      });
    } else {
      print(
        `perplexity ${Math.exp(nll).toFixed(4)}  nll ${nll.toFixed(6)} nats  ${tokens} tokens\n`,
      );
      note(`${chunks.length} chunks of ${context} tokens, ${figure(rate)} tok/s\n`);
    }
    return 0;
  },
};

/** Splits the text's tokens; where the model begins texts with a token, each chunk gets it. */
function chunksOf(
  model: Model,
  text: string,
  most: number | undefined,
  context: number,
): Uint32Array[] {
  const whole = model.tokenize(text, { parseSpecial: false });
  const { bos } = model.info;
  const begins = bos !== undefined && model.tokenize("")[0] === bos && whole[0] === bos;
  const tokens = whole.subarray(0, most);
  const chunks: Uint32Array[] = [];
  let at = begins ? 1 : 0;
  const width = begins ? context - 1 : context;
  for (; at < tokens.length; at += width) {
    const piece = tokens.subarray(at, at + width);
    const chunk = begins ? Uint32Array.of(bos as number, ...piece) : piece.slice();
    if (chunk.length >= 2) chunks.push(chunk);
  }
  return chunks;
}

/** The mean of the negative log-likelihood over all predicted tokens of all chunks. */
async function measure(
  session: Session,
  chunks: readonly Uint32Array[],
  signal: AbortSignal,
): Promise<{ nll: number; tokens: number }> {
  const bar = new ProgressBar((value) => `${value} tokens`);
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  let done = 0;
  let sum = 0;
  let tokens = 0;
  try {
    for (const chunk of chunks) {
      session.truncate(0);
      const scores = await session.score(chunk, {
        signal,
        onPrefill: (progress) => bar.show("reading", done + progress.done, total),
      });
      // The first token of a chunk is predicted by nothing.
      for (const score of scores.subarray(1)) {
        sum -= score;
        tokens++;
      }
      done += chunk.length;
      bar.show("reading", done, total);
    }
  } finally {
    bar.end();
  }
  if (!Number.isFinite(sum)) {
    throw new EngineError("numeric", `Expected finite log-likelihoods, but their sum is ${sum}`);
  }
  return { nll: sum / tokens, tokens };
}
