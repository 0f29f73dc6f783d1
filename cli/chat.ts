/**
 * `vitrine chat`: a conversation in the terminal.
 *
 * @module
 */

import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import {
  type ChatMessage,
  type Model,
  type SamplerStage,
  type Session,
  type SessionStats,
} from "../mod.ts";
import { nearest } from "../src/store/nearest.ts";
import { Arguments, parseArguments, UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { defaultModel, loadOptions, openModel, sessionOptions, sessionSettings } from "./model.ts";
import { bytesText, figure, note, perSecond, print, printJson } from "./output.ts";
import { chainText, defaultChain, samplerOf, samplingOptions, seedOf } from "./sampling.ts";

/** The command. */
export const chat: Command = {
  name: "chat",
  summary: "talk with a model",
  usage: "[MODEL]",
  description: [
    `A conversation with MODEL, ${defaultModel} by default, through its chat template. Ctrl-C stops an answer,`,
    "Ctrl-D ends the program. /help lists the commands. With --json each answer is one line of JSON.",
    `Sampler stages apply in the order given; default: ${chainText(defaultChain)}.`,
  ],
  options: {
    system: { value: "TEXT", help: "begin the conversation with this system message" },
    tokens: { short: "n", value: "N", help: "at most N tokens in an answer; default: what fits" },
    ...samplingOptions,
    ...loadOptions,
    ...sessionOptions,
    ...commonOptions,
  },
  positionals: [0, 1],
  run: async (given) => {
    const settings = {
      sampler: samplerOf(given),
      seed: seedOf(given),
      maxTokens: given.integer("tokens", 1),
    };
    const session = sessionSettings(given);
    using model = await openModel(given.positionals[0] ?? defaultModel, given);
    using conversation = new Conversation(
      model,
      model.session(session),
      given.text("system"),
      settings,
    );
    await talk(conversation, given.has("json"));
    return 0;
  },
};

/** How answers are drawn. */
interface ChatSettings {
  readonly sampler: readonly SamplerStage[];
  readonly seed: bigint | undefined;
  readonly maxTokens: number | undefined;
}

/** One answer. */
interface Answer {
  readonly text: string;
  readonly tokens: number[];
  /** Why it ended, as `Generation.stopReason` says it. */
  readonly stop_reason: string;
}

/** What was said, and the session that holds it. */
class Conversation implements Disposable {
  readonly model: Model;
  readonly session: Session;
  settings: ChatSettings;
  readonly #system: readonly ChatMessage[];
  /** Tokens of the last answer. */
  answerTokens = 0;
  #messages: ChatMessage[];

  constructor(model: Model, session: Session, system: string | undefined, settings: ChatSettings) {
    this.model = model;
    this.session = session;
    this.settings = settings;
    this.#system = system === undefined ? [] : [{ role: "system", content: system }];
    this.#messages = [...this.#system];
  }

  /** Messages so far, the system message not counted. */
  get length(): number {
    return this.#messages.length - this.#system.length;
  }

  /** Forgets what was said. */
  reset(): void {
    this.#messages = [...this.#system];
    this.session.truncate(0);
  }

  /** Asks, and hands each piece of the answer to `onText`. The signal stops the answer where it is. */
  async ask(text: string, signal: AbortSignal, onText: (text: string) => void): Promise<Answer> {
    this.#messages.push({ role: "user", content: text });
    const prompt = this.#promptThatFits();
    const { sampler, seed, maxTokens } = this.settings;
    const generation = this.session.generate(prompt, { sampler, seed, maxTokens, signal });
    const answer = { text: "", tokens: [] as number[], stop_reason: "aborted" };
    try {
      for await (const step of generation) {
        answer.text += step.text;
        answer.tokens.push(step.token);
        onText(step.text);
      }
      answer.stop_reason = generation.stopReason ?? "aborted";
    } catch (error) {
      if (!signal.aborted) {
        this.#messages.pop();
        throw error;
      }
    }
    this.answerTokens = answer.tokens.length;
    this.#messages.push({ role: "assistant", content: answer.text });
    return answer;
  }

  [Symbol.dispose](): void {
    this.session.dispose();
  }

  /**
   * The tokens that are still to be read: what the session holds already, and what the template
   * would write again, is kept. The oldest exchange is dropped while there is no room for an answer.
   */
  #promptThatFits(): Uint32Array {
    while (true) {
      const tokens = this.model.tokenize(this.model.chatTemplate(this.#messages));
      const room = this.session.context - tokens.length;
      if (room >= Math.min(64, this.session.context / 4)) return this.#behindCommon(tokens);
      if (this.length <= 1) {
        this.#messages.pop();
        throw new UsageError(
          `Expected a message that fits into ${this.session.context} tokens with room for an answer, but found ${tokens.length} tokens`,
        );
      }
      this.#messages.splice(this.#system.length, 2);
      note("(the context is full: the oldest exchange was dropped)\n");
    }
  }

  #behindCommon(tokens: Uint32Array): Uint32Array {
    const held = this.session.tokens;
    // At least one token is read, because its logits begin the answer.
    const most = Math.min(held.length, tokens.length - 1);
    let common = 0;
    while (common < most && held[common] === tokens[common]) common++;
    this.session.truncate(common);
    return tokens.subarray(common);
  }
}

/** The `/`-commands: what they do, and whether the conversation goes on. */
const slashCommands: Readonly<
  Record<string, { help: string; run: (conversation: Conversation, rest: string) => boolean }>
> = {
  "/help": {
    help: "print this",
    run: () => {
      for (const [name, { help }] of Object.entries(slashCommands)) {
        note(`  ${name.padEnd(10)}${help}\n`);
      }
      return true;
    },
  },
  "/reset": {
    help: "forget what was said",
    run: (conversation) => {
      conversation.reset();
      note("the conversation is empty\n");
      return true;
    },
  },
  "/sampler": {
    help: "show the sampler, or set it: /sampler --temperature 0.5 --top-p 0.9 --seed 7",
    run: (conversation, rest) => {
      if (rest !== "") conversation.settings = { ...conversation.settings, ...parseSampler(rest) };
      const { sampler, seed } = conversation.settings;
      note(`${chainText(sampler)}; seed ${seed ?? "drawn for each answer"}\n`);
      return true;
    },
  },
  "/stats": {
    help: "figures of the last answer and of the session",
    run: (conversation) => {
      note(statsText(conversation));
      return true;
    },
  },
  "/exit": { help: "end the program (also Ctrl-D)", run: () => false },
};

/** Reads sampler options as the command line does. */
function parseSampler(text: string): Pick<ChatSettings, "sampler" | "seed"> {
  const command = {
    ...chat,
    name: "/sampler",
    usage: "OPTIONS",
    options: samplingOptions,
    positionals: [0, 0] as const,
  };
  const given: Arguments = parseArguments(command, text.split(/\s+/));
  return { sampler: samplerOf(given), seed: seedOf(given) };
}

function statsText({ session, model, length, answerTokens }: Conversation): string {
  const stats: SessionStats = session.stats;
  return [
    `${length} messages, ${session.position} of ${session.context} tokens`,
    `KV cache ${bytesText(session.kv.bytes)} (${session.kv.keyFormat}/${session.kv.valueFormat})`,
    `last answer: ${stats.prefillTokens} + ${answerTokens} tokens`,
    `prefill ${figure(perSecond(stats.prefillTokens, stats.prefillMs))} tok/s`,
    `decode ${figure(perSecond(answerTokens - 1, stats.decodeMs))} tok/s`,
    `${model.info.cpuVariant}, ${model.info.threads} threads`,
  ].join("\n") + "\n";
}

/** Reads lines until /exit or the end of the input. */
async function talk(conversation: Conversation, isJson: boolean): Promise<void> {
  const isTerminal = process.stdin.isTTY === true;
  // On a terminal the prompt belongs to the conversation; from a pipe only the answers are wanted.
  const lines = createInterface({
    input: process.stdin,
    ...(isTerminal && { output: isJson ? process.stderr : process.stdout }),
    prompt: "> ",
    terminal: isTerminal,
  });
  const { settings } = conversation;
  note(
    `sampler: ${chainText(settings.sampler)}; seed ${
      settings.seed ?? "drawn for each answer"
    }; /help lists commands\n`,
  );
  const interrupt = new Interrupt(lines);
  try {
    if (isTerminal) lines.prompt();
    for await (const line of lines) {
      const goesOn = await handle(conversation, line.trim(), interrupt, isJson);
      if (!goesOn) break;
      if (isTerminal) lines.prompt();
    }
  } finally {
    interrupt.end();
    lines.close();
  }
}

/** Does what one line says. Returns whether the conversation goes on. */
async function handle(
  conversation: Conversation,
  line: string,
  interrupt: Interrupt,
  isJson: boolean,
): Promise<boolean> {
  if (line === "") return true;
  try {
    if (line.startsWith("/")) return slash(conversation, line);
    const answer = await interrupt.during((signal) =>
      conversation.ask(line, signal, (text) => isJson ? undefined : print(text))
    );
    if (isJson) printJson(answer);
    else print(answer.stop_reason === "aborted" ? " (stopped)\n\n" : "\n\n");
    if (answer.stop_reason === "context") note("(the context is full)\n");
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (isJson) printJson({ error: { message: error.message } });
    note(`${error.message}\n`);
  }
  return true;
}

function slash(conversation: Conversation, line: string): boolean {
  const [name, rest = ""] = line.split(/\s+(.*)/s) as [string, string?];
  const command = slashCommands[name];
  if (command !== undefined) return command.run(conversation, rest);
  const near = nearest(name, Object.keys(slashCommands));
  note(
    `Expected a command, but found ${name}; ${
      near === undefined ? "/help lists them" : `did you mean ${near}?`
    }\n`,
  );
  return true;
}

/** Ctrl-C: stops what runs; with nothing running it says how to leave. */
class Interrupt {
  readonly #lines: Interface;
  #control: AbortController | undefined;
  readonly #onSignal = () => {
    if (this.#control !== undefined) this.#control.abort();
    else note("\n(/exit or Ctrl-D ends the program)\n> ");
  };

  constructor(lines: Interface) {
    this.#lines = lines;
    // On a terminal readline reads the key itself; elsewhere it is a signal.
    lines.on("SIGINT", this.#onSignal);
    process.on("SIGINT", this.#onSignal);
  }

  /** Runs `body` with a signal that Ctrl-C gives. */
  async during<Result>(body: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const control = new AbortController();
    this.#control = control;
    try {
      return await body(control.signal);
    } finally {
      this.#control = undefined;
    }
  }

  end(): void {
    this.#lines.off("SIGINT", this.#onSignal);
    process.off("SIGINT", this.#onSignal);
  }
}
