/**
 * `vitrine sample`: many continuations of one prompt, generated together.
 *
 * @module
 */

import { type Command, commonOptions } from "./command.ts";
import {
  interruptSignal,
  loadOptions,
  openModel,
  sessionOptions,
  sessionSettings,
} from "./model.ts";
import { figure, note, perSecond, print, printJson, ProgressBar } from "./output.ts";
import {
  bannedOf,
  banOption,
  chainFields,
  chainText,
  defaultChain,
  samplerOf,
  samplingOptions,
  seedOf,
} from "./sampling.ts";

const manyDefault = 4;
const tokensDefault = 128;

/** The command. */
export const sample: Command = {
  name: "sample",
  summary: "continue a prompt many times, all together",
  usage: "MODEL PROMPT",
  description: [
    "Continues PROMPT as it is, without the chat template, --many times at once, from one reading of it.",
    "The seeds follow each other from --seed on; vitrine run --raw gives the same text with one of them.",
    `Sampler stages apply in the order given; default: ${chainText(defaultChain)}.`,
  ],
  options: {
    many: { value: "N", help: `how many continuations; default: ${manyDefault}` },
    tokens: {
      short: "n",
      value: "N",
      help: `generate at most N tokens of each; default: ${tokensDefault}`,
    },
    ...samplingOptions,
    ...banOption,
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [2, 2],
  run: async (given) => {
    const [ref, prompt] = given.positionals as [string, string];
    const sampler = samplerOf(given);
    const maxTokens = given.integer("tokens", 1, 1 << 20) ?? tokensDefault;
    const n = given.integer("many", 1, 4000) ?? manyDefault;
    const seed = seedOf(given);
    const settings = sessionSettings(given);
    const signal = interruptSignal();
    using model = await openModel(ref, given, { signal });
    const context = settings.context ?? model.tokenize(prompt).length + maxTokens;
    using session = model.session({ ...settings, context });
    const many = session.sampleMany(prompt, {
      ...{ n, sampler, maxTokens, seed, signal },
      bannedStrings: bannedOf(given),
    });
    const rows = many.seeds.map((own) => ({ seed: own, text: "", tokens: [] as number[] }));
    const bar = new ProgressBar((value) => `${value} tokens`);
    const begun = performance.now();
    let done = 0;
    try {
      for await (const { sample, token, text } of many) {
        const row = rows[sample] as typeof rows[number];
        row.text += text;
        row.tokens.push(token);
        bar.show("sampling", done += 1, n * maxTokens);
      }
    } finally {
      bar.end();
    }
    const rate = perSecond(done, performance.now() - begun);
    if (given.has("json")) {
      printJson({
        prompt,
        ...chainFields(sampler),
        samples: rows.map((row, i) => ({
          ...row,
          // A seed can be larger than a JSON number keeps exactly.
          seed: row.seed <= BigInt(Number.MAX_SAFE_INTEGER) ? row.seed : String(row.seed),
          stop_reason: many.stopReasons[i] ?? null,
        })),
        tok_s: rate,
      });
      return 0;
    }
    for (const [i, { seed, text, tokens }] of rows.entries()) {
      note(`seed ${seed}, ${tokens.length} tokens, ${many.stopReasons[i]}\n`);
      print(`${text}\n`);
    }
    note(`sampler: ${chainText(sampler)}; ${done} tokens, ${figure(rate)} tok/s with the prompt\n`);
    return 0;
  },
};
