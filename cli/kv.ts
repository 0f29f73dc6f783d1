/**
 * `vitrine kv`: what the KV cache takes, and what a narrower one costs.
 *
 * @module
 */

import { basename } from "node:path";
import {
  compareKv,
  type KvFormat,
  kvFormats,
  type KvLedger,
  type KvPolicy,
  type Model,
} from "../mod.ts";
import { nearest } from "../src/store/nearest.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import {
  interruptSignal,
  loadOptions,
  openModel,
  readPolicy,
  sessionOptions,
  sessionSettings,
} from "./model.ts";
import { bytesText, figure, note, print, printJson, ProgressBar, table } from "./output.ts";
import { readText } from "./tokenize.ts";

const actions = ["ledger", "compare"] as const;

/** The command. */
export const kv: Command = {
  name: "kv",
  summary: "account for the KV cache and compare its formats",
  usage: "MODEL ledger|compare --file F",
  description: [
    "ledger   reads the text and says where the cache's bytes are: keys, values, scales, room in pages,",
    "         free pages.",
    "compare  reads the text with several formats side by side and says how far the predictions are from",
    "         those of --reference: KL divergence (nats a token), share of equal best tokens, perplexity,",
    "         bits per value with scales, and decoded tokens per second. --precision float keeps the",
    "         rounding of activations out of it.",
  ],
  options: {
    file: { short: "f", value: "F", help: "the text" },
    tokens: { short: "n", value: "N", help: "read only the first N tokens" },
    formats: {
      value: "LIST",
      help: "compare: KEY, KEY/VALUE or FILE.json of a policy, separated by commas; default: each",
    },
    reference: { value: "F", help: "compare: what they are measured against; default: f32" },
    layers: { help: "print one row a layer too" },
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [2, 2],
  run: async (given) => {
    const [ref, action] = given.positionals as [string, string];
    if (!actions.some((name) => name === action)) {
      const near = nearest(action, actions);
      throw new UsageError(
        `Expected ${actions.join(" or ")} after the model, but found ${JSON.stringify(action)}${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    const file = given.text("file");
    if (file === undefined) throw new UsageError("Expected --file with a text, but found none");
    const text = readText(file);
    const most = given.integer("tokens", 2);
    const caches = cachesOf(given);
    const signal = interruptSignal();
    using model = await openModel(ref, given, { signal });
    const tokens = model.tokenize(text, { parseSpecial: false }).slice(0, most);
    if (action === "ledger") await ledger(model, tokens, given, signal);
    else await compare(model, tokens, caches, given, signal);
    return 0;
  },
};

/** A cache, and what it is called in tables. */
interface Named {
  readonly name: string;
  readonly policy: KvPolicy;
}

function cachesOf(given: Arguments): { reference: Named; candidates: Named[] } {
  const reference = cacheOf(given.text("reference") ?? "f32", "reference");
  const list = given.text("formats");
  const { key, value } = reference.policy;
  const candidates = list === undefined
    ? kvFormats.filter((format) => format !== key || format !== value)
      .map((format) => cacheOf(format, "formats"))
    : list.split(",").map((word) => cacheOf(word, "formats"));
  return { reference, candidates };
}

function cacheOf(text: string, option: string): Named {
  if (text.endsWith(".json")) return { name: basename(text, ".json"), policy: readPolicy(text) };
  const words = text.split("/");
  const [key, value] = [words[0], words[1] ?? words[0]].map((word) => {
    const format = kvFormats.find((name) => name === word);
    if (format !== undefined && words.length <= 2) return format;
    throw new UsageError(
      `Expected KEY or KEY/VALUE of ${kvFormats.join(", ")}, or a policy in a .json file, after ` +
        `--${option}, but found "${text}"`,
    );
  }) as [KvFormat, KvFormat];
  return { name: `${key}/${value}`, policy: { key, value } };
}

async function ledger(
  model: Model,
  tokens: Uint32Array,
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const settings = sessionSettings(given);
  using session = model.session({ ...settings, context: settings.context ?? tokens.length });
  const bar = new ProgressBar((value) => `${value} tokens`);
  try {
    const onPrefill = ({ done, total }: { done: number; total: number }) =>
      bar.show("reading", done, total);
    await session.prefill(tokens, { signal, onPrefill });
  } finally {
    bar.end();
  }
  const found = session.kv.ledger();
  const { keyFormat, valueFormat } = session.kv;
  if (given.has("json")) {
    const { layers, ...all } = found;
    printJson({
      tokens: session.position,
      key_format: keyFormat,
      value_format: valueFormat,
      ...snakeCase(all),
      layers: layers.map(snakeCase),
    });
    return;
  }
  const layers = given.has("layers") ? found.layers : [];
  print(table([
    ["", "keys", "scales", "values", "scales", "room in pages", "free", "all"],
    ledgerRow("all", found),
    ...layers.map((row, layer) => ledgerRow(`layer ${layer}`, row)),
  ]));
  const { keyBits, valueBits } = found;
  print(
    `${session.position} tokens; keys ${keyFormat}, ${keyBits} bits a value; ` +
      `values ${valueFormat}, ${valueBits} bits a value\n`,
  );
}

function ledgerRow(name: string, row: KvLedger["layers"][number]): string[] {
  const { keyPayload, keyScales, valuePayload, valueScales, pageSlack, free, bytes } = row;
  return [
    name,
    ...[keyPayload, keyScales, valuePayload, valueScales, pageSlack, free, bytes].map(bytesText),
  ];
}

/** Fields of results have underscores. */
function snakeCase(row: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}

async function compare(
  model: Model,
  tokens: Uint32Array,
  { reference, candidates }: { reference: Named; candidates: Named[] },
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const bar = new ProgressBar((value) => `${value} tokens`);
  let found;
  try {
    found = await compareKv(model, tokens, {
      reference: reference.policy,
      candidates: candidates.map(({ policy }) => policy),
      context: given.integer("ctx", 2, 1 << 20),
      signal,
      onProgress: ({ done, total }) => bar.show("comparing", done, total),
    });
  } finally {
    bar.end();
  }
  if (given.has("json")) {
    printJson({
      ...snakeCase(found),
      reference: snakeCase(found.reference),
      candidates: found.candidates.map((row) => ({
        ...snakeCase(row),
        layers: row.layers.map(snakeCase),
      })),
    });
    return;
  }
  const names = candidates.map(({ name }) => name);
  const last = (row: { tokensPerSecond: number }) => figure(row.tokensPerSecond);
  print(table([
    ["keys/values", "bits", "mean KL", "99 %", "most", "same top", "perplexity", "tok/s"],
    [
      ...[reference.name, figure(found.reference.bitsPerValue), "", "", "", ""],
      ...[found.reference.perplexity.toFixed(3), last(found.reference)],
    ],
    ...found.candidates.map((row, i) => [
      ...[names[i] as string, figure(row.bitsPerValue)],
      ...[row.kl.mean, row.kl.p99, row.kl.max].map((kl) => kl.toExponential(2)),
      `${(100 * row.sameTop).toFixed(2)} %`,
      row.perplexity.toFixed(3),
      last(row),
    ]),
  ]));
  if (given.has("layers")) {
    print("\nerror of keys/values by layer, relative\n");
    print(table([
      ["layer", ...names],
      ...Array.from({ length: model.info.layers }, (_, layer) => [
        String(layer),
        ...found.candidates.map((row) => {
          const { keyError, valueError } = row.layers[layer] as typeof row.layers[number];
          return `${keyError.toExponential(1)}/${valueError.toExponential(1)}`;
        }),
      ]),
    ]));
  }
  note(
    `${found.tokens} tokens in pieces of ${found.context}; speed at depth ${found.reference.depth}\n`,
  );
}
