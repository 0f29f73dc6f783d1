/**
 * The sampler of the command line: the stages are the options, in the order in which they are given.
 *
 * @module
 */

import {
  formatSampler,
  grammar,
  greedy,
  jsonSchema,
  minP,
  parseSampler,
  type SamplerStage,
  temperature,
  topK,
  topP,
} from "../mod.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { CommandOption } from "./command.ts";
import { readText } from "./tokenize.ts";

/** Stages that are options of their own and take one number. */
const numberStages: Readonly<Record<string, (value: number) => SamplerStage>> = {
  temperature,
  "top-k": topK,
  "top-p": topP,
  "min-p": minP,
};

/** Stages that are options of their own and take what `--sampler` has behind their names. */
const notedStages = {
  "repetition-penalty": {
    value: "X[:N]",
    help: "sampler stage: divide the logits of the last N tokens by X; default of N: 64",
  },
  "presence-penalty": {
    value: "X[:N]",
    help: "sampler stage: take X off the logits of the last N tokens",
  },
  "frequency-penalty": {
    value: "X[:N]",
    help: "sampler stage: take X off the logits of the last N tokens, each time",
  },
  "no-repeat-ngram": { value: "N", help: "sampler stage: no N tokens twice in a row" },
  "logit-bias": { value: "JSON", help: "sampler stage: add to logits, as [[13,-2],[2,false]]" },
  dry: {
    value: "X[:BASE:LENGTH:N:JSON]",
    help: "sampler stage: penalise what continues a repetition of LENGTH tokens and more",
  },
  mirostat: { value: "TAU[:ETA]", help: "sampler stage: hold the surprise at TAU bits" },
  "mirostat-v2": { value: "TAU[:ETA]", help: "the same, by its second version" },
  "adaptive-p": {
    value: "P[:DECAY]",
    help: "sampler stage: prefer tokens of about the probability P",
  },
} as const satisfies Record<string, CommandOption>;

/** Options that make the chain. */
export const samplingOptions = {
  temperature: { value: "T", help: "sampler stage: divide the logits by T" },
  "top-k": { value: "K", help: "sampler stage: keep the K most probable tokens" },
  "top-p": {
    value: "P",
    help: "sampler stage: keep the fewest tokens whose probabilities reach P",
  },
  "min-p": {
    value: "P",
    help: "sampler stage: keep tokens with at least P of the best one's probability",
  },
  ...notedStages,
  sampler: {
    value: "CHAIN",
    help: "all stages in one, as temp=0.8,top-n-sigma=1; no other stage beside it",
  },
  greedy: { help: "take the most probable token; no other stage beside it" },
  grammar: { value: "FILE", help: "first stage: only text of this grammar (GBNF)" },
  "json-schema": { value: "FILE", help: "first stage: only JSON that fulfils this schema" },
  seed: { value: "S", help: "seed of the random numbers; default: drawn, and printed" },
} as const satisfies Record<string, CommandOption>;

/** What `run` and `chat` do when no stage is given. */
export const defaultChain: readonly SamplerStage[] = [temperature(0.7), topK(40), topP(0.95)];

/** The chain that the options ask for, and before it what the text must be. */
export function samplerOf(given: Arguments): readonly SamplerStage[] {
  return [...constraintOf(given), ...chainOf(given)];
}

function constraintOf(given: Arguments): SamplerStage[] {
  const [rules, schema] = [given.text("grammar"), given.text("json-schema")];
  if (rules !== undefined && schema !== undefined) {
    throw new UsageError("Expected --grammar or --json-schema, but found both");
  }
  if (rules !== undefined) return [grammar(readText(rules))];
  if (schema === undefined) return [];
  let parsed: unknown;
  try {
    parsed = JSON.parse(readText(schema));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new UsageError(`Expected JSON in ${schema}, but found none: ${error.message}`);
  }
  return [jsonSchema(parsed as Parameters<typeof jsonSchema>[0])];
}

function chainOf(given: Arguments): readonly SamplerStage[] {
  const named = given.order.filter((name) => name in numberStages || name in notedStages);
  if (given.has("greedy")) {
    if (given.has("sampler")) named.push("sampler");
    if (named.length > 0) {
      throw new UsageError(
        `Expected --greedy without other sampler stages, but found --${named.join(", --")}`,
      );
    }
    return [greedy()];
  }
  const chain = given.text("sampler");
  if (chain !== undefined) {
    if (named.length > 0) {
      throw new UsageError(
        `Expected --sampler without other sampler stages, but found --${named.join(", --")}`,
      );
    }
    return parseSampler(chain);
  }
  if (named.length === 0) return defaultChain;
  return named.map((name) => stageOf(given, name));
}

function stageOf(given: Arguments, name: string): SamplerStage {
  const make = numberStages[name];
  if (make !== undefined) return make(given.number(name) as number);
  const [stage, ...more] = parseSampler(`${name}=${given.text(name)}`);
  if (stage === undefined || more.length > 0) {
    throw new UsageError(
      `Expected the values of one stage after --${name}, but found ${given.text(name)}`,
    );
  }
  return stage;
}

/** The seed that the options ask for: up to 2^64 - 1. */
export function seedOf(given: Arguments): bigint | undefined {
  const text = given.text("seed");
  if (text === undefined) return undefined;
  if (!/^\d{1,20}$/.test(text) || BigInt(text) >= 1n << 64n) {
    throw new UsageError(
      `Expected a whole number from 0 to 2^64 - 1 after --seed, but found ${JSON.stringify(text)}`,
    );
  }
  return BigInt(text);
}

/** A chain for people, as `--sampler` takes it; only long data is cut. */
export function chainText(chain: readonly SamplerStage[]): string {
  if (chain.length === 0) return "the model's own distribution";
  return chain.map((stage) => shortened(formatSampler([stage]))).join(",");
}

function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

/** A chain for programs: its stages, and all of it as `--sampler` takes it. */
export function chainFields(
  chain: readonly SamplerStage[],
): { sampler: object[]; chain: string } {
  const sampler = chain.map(({ name, params, data }) => ({
    name,
    ...params,
    ...(data !== undefined && { data }),
  }));
  return { sampler, chain: formatSampler(chain) };
}

/** Strings that the text must not have: one, or several as a JSON array. */
export function bannedOf(given: Arguments): string[] | undefined {
  const text = given.text("ban");
  if (text === undefined) return undefined;
  if (!text.startsWith("[")) return [text];
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every((one) => typeof one === "string")) return list;
  } catch {
    // Said below.
  }
  throw new UsageError(`Expected a text or a JSON array of texts after --ban, but found ${text}`);
}

/** The option that `bannedOf` reads. */
export const banOption = {
  ban: { value: "TEXT", help: "a text that must not come, or several as a JSON array" },
} as const satisfies Record<string, CommandOption>;
