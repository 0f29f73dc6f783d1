/**
 * Checks what `generate`, `step`, `prefill` and `score` are given, before anything is started.
 *
 * @module
 */
import type { Draft } from "../draft.ts";
import { RequestFlags } from "../ffi/symbols.gen.ts";
import type { GenerateOptions } from "../generate_options.ts";
import {
  checkBoolean,
  checkFields,
  checkFunction,
  checkInteger,
  checkSignal,
  checkTokens,
  found,
} from "./check.ts";
import { guideOf } from "./guides.ts";
import type { ModelCore } from "./model_core.ts";
import { type RecordSettings, recordSettings } from "./record_settings.ts";
import { packStages, type Request } from "./request.ts";
import { packData } from "./stage_data.ts";

/** Most of the most probable tokens that a step reports. */
const topMax = 64;
const seedMax = 0xffff_ffff_ffff_ffffn;
/** A generation without a limit ends by itself: at its end, or when the context is full. */
const unlimited = 0xffff_ffff;

/** What a generation needs to know, checked. */
export interface GenerationSettings {
  readonly request: Request;
  readonly record: RecordSettings;
  readonly stop: readonly string[];
  readonly signal: AbortSignal | undefined;
  readonly onPrefill: ((progress: { done: number; total: number }) => void) | undefined;
}

/** The fields of the options of `generate`. */
export const generateFields = [
  "sampler",
  "seed",
  "maxTokens",
  "stop",
  "bannedStrings",
  "bannedIgnoreCase",
  "signal",
  "topLogprobs",
  "entropy",
  "ignoreEnd",
  "draft",
  "addSpecial",
  "parseSpecial",
  "onPrefill",
];

/** And those that only one generation alone takes. */
export const recordFields = ["trace", "tape", "promptLogprobs"];

export function generationSettings(
  options: GenerateOptions,
  known: readonly string[] = [...generateFields, ...recordFields],
  what = "generate",
): GenerationSettings {
  checkFields(options, known, what);
  checkFunction(options.onPrefill, "onPrefill");
  const { maxTokens, topLogprobs } = options;
  return {
    request: {
      maxTokens: maxTokens === undefined
        ? unlimited
        : checkInteger(maxTokens, options.promptLogprobs ? 0 : 1, unlimited, "maxTokens"),
      flags: (checkBoolean(options.ignoreEnd, "ignoreEnd") ? RequestFlags.ignore_end : 0) |
        (checkBoolean(options.entropy, "entropy") ? RequestFlags.entropy : 0) |
        (checkBoolean(options.promptLogprobs, "promptLogprobs")
          ? RequestFlags.prompt_logprobs
          : 0) |
        (checkBoolean(options.bannedIgnoreCase, "bannedIgnoreCase")
          ? RequestFlags.banned_ignore_case
          : 0),
      seed: checkSeed(options.seed),
      topLogprobs: topLogprobs === undefined
        ? 0
        : checkInteger(topLogprobs, 0, topMax, "topLogprobs"),
      stages: packStages(options.sampler),
      banned: checkBanned(options.bannedStrings),
      functions: options.sampler?.some(({ apply }) => apply) ? options.sampler : undefined,
      draft: checkDraft(options.draft),
      guide: guideOf(options.sampler ?? []),
    },
    record: recordSettings(options.trace, options.tape, options.sampler ?? []),
    stop: checkStop(options.stop),
    signal: checkSignal(options.signal, "signal"),
    onPrefill: options.onPrefill,
  };
}

/** A request that only reads a prompt. */
export function prefillRequest(flags: number): Request {
  return { maxTokens: 0, flags, seed: 0n, topLogprobs: 0, stages: new Uint8Array(0) };
}

/** The tokens of a prompt; `first` says whether it begins its session. */
export function promptTokens(
  model: ModelCore,
  prompt: string | readonly number[] | Uint32Array,
  options: {
    readonly addSpecial?: boolean | undefined;
    readonly parseSpecial?: boolean | undefined;
  },
  first: boolean,
): Uint32Array<ArrayBuffer> {
  const addSpecial = checkBoolean(options.addSpecial, "addSpecial") ?? first;
  const parseSpecial = checkBoolean(options.parseSpecial, "parseSpecial") ?? true;
  if (typeof prompt === "string") return model.tokenize(prompt, addSpecial, parseSpecial);
  return checkTokens(prompt, model.info.vocabulary, "the prompt");
}

export function checkSeed(seed: unknown): bigint {
  if (seed === undefined) return crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  if (typeof seed === "bigint") {
    if (seed < 0n || seed > seedMax) {
      throw new RangeError(`Expected seed to be from 0 to ${seedMax}, but found ${seed}`);
    }
    return seed;
  }
  return BigInt(checkInteger(seed, 0, Number.MAX_SAFE_INTEGER, "seed"));
}

function checkBanned(strings: unknown): Uint8Array {
  if (strings === undefined) return new Uint8Array(0);
  if (!Array.isArray(strings) || !strings.every((text) => typeof text === "string")) {
    throw new TypeError(
      `Expected bannedStrings to be an array of texts, but found ${found(strings)}`,
    );
  }
  if (strings.length > 4096) {
    throw new RangeError(`Expected up to 4096 bannedStrings, but found ${strings.length}`);
  }
  for (const text of strings) {
    const { length } = new TextEncoder().encode(text);
    if (length < 1 || length > 1024) {
      throw new RangeError(
        `Expected bannedStrings of 1 to 1024 bytes, but found ${found(text)} of ${length}`,
      );
    }
  }
  return packData("strings", strings, "bannedStrings");
}

function checkDraft(draft: Draft | undefined): Draft | undefined {
  if (draft === undefined) return undefined;
  const kinds = ["ngram", "model", "custom"];
  if (kinds.includes(draft?.kind) && (draft.kind === "ngram" || draft.open)) return draft;
  throw new TypeError(
    `Expected draft to be what ngramDraft, modelDraft or customDraft makes, but found ${
      found(draft)
    }`,
  );
}

function checkStop(stop: unknown): readonly string[] {
  const list = stop === undefined ? [] : Array.isArray(stop) ? stop : [stop];
  for (const text of list) {
    if (typeof text !== "string") {
      throw new TypeError(
        `Expected stop to be text or an array of texts, but found ${found(text)}`,
      );
    }
    if (text.length === 0) {
      throw new RangeError('Expected stop to be at least one character, but found ""');
    }
  }
  return list;
}
