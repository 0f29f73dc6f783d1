/**
 * `vitrine run`: one prompt, one answer.
 *
 * @module
 */

import type { Generation, Model, Session, Step } from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { draftOptions, openDraft } from "./drafting.ts";
import { evictionOf, evictOptions } from "./evicting.ts";
import {
  defaultModel,
  interruptSignal,
  loadOptions,
  openModel,
  openSession,
  sessionOptions,
  sessionSettings,
} from "./model.ts";
import { bytesText, figure, note, peakMemory, perSecond, print, printJson } from "./output.ts";
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

/** Tokens that are generated when `-n` isn't given. */
const tokensDefault = 256;

/** The command. */
export const run: Command = {
  name: "run",
  summary: "answer a prompt",
  usage: "[MODEL] PROMPT",
  description: [
    `Answers PROMPT with MODEL, ${defaultModel} when only a prompt is given. The prompt goes through the`,
    "model's chat template unless --raw is given. The text goes to stdout as it is generated, settings",
    `and figures to stderr. Sampler stages apply in the order given; default: ${
      chainText(defaultChain)
    }.`,
  ],
  options: {
    tokens: {
      short: "n",
      value: "N",
      help: `generate at most N tokens; default: ${tokensDefault}`,
    },
    ...samplingOptions,
    ...banOption,
    ...draftOptions,
    ...evictOptions,
    save: { value: "FILE", help: "keep the session, its KV cache included, behind the answer" },
    restore: { value: "FILE", help: "go on from a session that was kept: PROMPT follows on it" },
    raw: { help: "continue PROMPT as it is, without the chat template" },
    ...loadOptions,
    ...sessionOptions,
    logprobs: { value: "K", help: "report the K most probable tokens of each step (0 to 64)" },
    ...commonOptions,
  },
  positionals: [1, 2],
  run: async (given) => {
    const [first, second] = given.positionals as [string, string | undefined];
    const [ref, text] = second === undefined ? [defaultModel, first] : [first, second];
    const request = {
      sampler: samplerOf(given),
      bannedStrings: bannedOf(given),
      seed: seedOf(given),
      maxTokens: given.integer("tokens", 1) ?? tokensDefault,
      topLogprobs: given.integer("logprobs", 0, 64) ?? 0,
      signal: interruptSignal(),
    };
    // What is wrong with them is said before the model is loaded.
    sessionSettings(given);
    const evict = evictionOf(given);
    using model = await openModel(ref, given, { signal: request.signal });
    const prompt = given.has("raw") ? text : promptOf(model, text);
    using session = await openSession(model, given, request.signal, evict);
    using open = await openDraft(given, request.signal);
    const generation = session.generate(prompt, { ...request, draft: open.draft });
    if (!given.has("json")) {
      note(`sampler: ${chainText(request.sampler)}; seed ${generation.seed}\n`);
    }
    const steps = await read(generation, given);
    const file = given.text("save");
    if (file !== undefined) await session.save(file);
    if (given.has("json")) printJson(resultOf(model, session, generation, steps, given));
    else note(summaryOf(model, session, generation, steps.length));
    return 0;
  },
};

/** The prompt as a conversation of one message, if the model was trained on conversations. */
function promptOf(model: Model, text: string): string {
  if (model.metadata.has("tokenizer.chat_template")) {
    return model.chatTemplate([{ role: "user", content: text }]);
  }
  note("the model has no chat template: the prompt is continued as it is\n");
  return text;
}

/** Reads the steps; writes their text as they come, if people read it. */
async function read(generation: Generation, given: Arguments): Promise<Step[]> {
  const steps: Step[] = [];
  const isShown = !given.has("json");
  const top = given.has("logprobs");
  try {
    for await (const step of generation) {
      steps.push(step);
      if (!isShown) continue;
      print(step.text);
      if (top) note(`\n${stepText(step)}\n`);
    }
  } finally {
    if (isShown && steps.length > 0) print("\n");
  }
  return steps;
}

function stepText(step: Step): string {
  const others = step.top.map(({ token, logprob }) => `${token} ${logprob.toFixed(3)}`).join(", ");
  return `  ${step.token} ${step.logprob.toFixed(3)}${others === "" ? "" : ` of ${others}`}`;
}

/** The result as the JSON that programs read. */
function resultOf(
  model: Model,
  session: Session,
  generation: Generation,
  steps: readonly Step[],
  given: Arguments,
): Record<string, unknown> {
  const { stats } = session;
  const withTop = given.has("logprobs");
  return {
    prompt_tokens: Array.from(generation.promptTokens),
    tokens: steps.map((step) => step.token),
    text: steps.map((step) => step.text).join(""),
    steps: steps.map(({ token, text, logprob, top }) => ({
      token,
      text,
      logprob,
      ...(withTop && { top: top.map(({ token, logprob }) => ({ token, logprob })) }),
    })),
    stop_reason: generation.stopReason ?? null,
    // A seed can be larger than a JSON number keeps exactly.
    seed: generation.seed <= BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(generation.seed)
      : String(generation.seed),
    ...chainFields(samplerOf(given)),
    timings: {
      load_ms: model.info.loadMs,
      prefill_ms: stats.prefillMs,
      prefill_tok_s: perSecond(stats.prefillTokens, stats.prefillMs),
      decode_tok_s: perSecond(steps.length - 1, stats.decodeMs),
      first_token_ms: stats.firstTokenMs,
    },
    ...(given.has("draft") && { draft: { ...draftOf(session), passes: generation.drafts } }),
    ...(given.has("evict") && { evict: evictedOf(session, given) }),
    packed: model.info.packed,
    memory: {
      weights_bytes: model.info.weightsBytes,
      kv_bytes: session.kv.bytes,
      peak_rss_bytes: peakMemory(),
    },
    cpu_variant: model.info.cpuVariant,
    threads: model.info.threads,
  };
}

/** The policy, how many tokens went, and how many are in the cache. */
function evictedOf(session: Session, given: Arguments): Record<string, unknown> {
  const { evictedTokens } = session.stats;
  return { ...evictionOf(given), evicted_tokens: evictedTokens, kept_tokens: session.position };
}

/** What came of the guesses. */
function draftOf({ stats }: Session): { drafted: number; accepted: number } {
  return { drafted: stats.drafted, accepted: stats.accepted };
}

/** The same figures in one line. */
function summaryOf(model: Model, session: Session, generation: Generation, count: number): string {
  const { stats } = session;
  const { info } = model;
  const why = generation.stopReason === "length"
    ? " (-n reached)"
    : generation.stopReason === "context"
    ? " (context full)"
    : "";
  return [
    `${stats.prefillTokens} + ${count} tokens${why}`,
    `load ${figure(info.loadMs)} ms${info.packed === "off" ? "" : ` (packed: ${info.packed})`}`,
    `first token ${figure(stats.firstTokenMs)} ms`,
    `prefill ${figure(perSecond(stats.prefillTokens, stats.prefillMs))} tok/s`,
    `decode ${figure(perSecond(count - 1, stats.decodeMs))} tok/s`,
    ...(generation.drafts ? [`${stats.accepted} of ${stats.drafted} guesses right`] : []),
    ...(stats.evictedTokens > 0 ? [`${stats.evictedTokens} tokens evicted`] : []),
    `weights ${bytesText(info.weightsBytes)}`,
    `KV cache ${bytesText(session.kv.bytes)}`,
    `${info.cpuVariant}, ${info.threads} ${info.threads === 1 ? "thread" : "threads"}`,
  ].join(" · ") + "\n";
}
