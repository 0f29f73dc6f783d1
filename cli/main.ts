/**
 * The command line. Everything that the commands do, a script can do with `mod.ts`.
 *
 * usage: ./vitrine COMMAND …     bun run cli/main.ts COMMAND …     deno run -A cli/main.ts COMMAND …
 *
 * Exit status: 0 done, 1 it failed, 2 it was called wrongly, 130 ended by Ctrl-C.
 *
 * @module
 */

import process from "node:process";
import { EngineError } from "../mod.ts";
import { nearest } from "../src/store/nearest.ts";
import { parseArguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { note, print, printJson } from "./output.ts";

/**
 * The commands in the order of the overview. Only the one that is asked for is read: what the others
 * import takes as long as loading a small model.
 */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import("./run.ts")).run,
  chat: async () => (await import("./chat.ts")).chat,
  tokenize: async () => (await import("./tokenize.ts")).tokenize,
  inspect: async () => (await import("./inspect.ts")).inspect,
  perplexity: async () => (await import("./perplexity.ts")).perplexity,
  kv: async () => (await import("./kv.ts")).kv,
  trace: async () => (await import("./trace.ts")).trace,
  sample: async () => (await import("./sample.ts")).sample,
  samplers: async () => (await import("./samplers.ts")).samplers,
  pull: async () => (await import("./pull.ts")).pull,
  bench: async () => (await import("./bench.ts")).bench,
};

/** The command of this name, if there is one. */
async function commandNamed(name: string | undefined): Promise<Command | undefined> {
  return name !== undefined && Object.hasOwn(commands, name) ? await commands[name]?.() : undefined;
}

async function overview(): Promise<string> {
  const all = await Promise.all(Object.values(commands).map((command) => command()));
  const rows = all.map((command) => `  ${command.name.padEnd(12)}${command.summary}`);
  return [
    "Vitrine runs language models in GGUF files.",
    "",
    "usage: vitrine COMMAND [OPTIONS]",
    "",
    ...rows,
    "",
    "MODEL is a path, smollm2, gemma3-270m, hf:owner/repository/file.gguf or a URL.",
    "vitrine COMMAND --help says more. VITRINE_RUNTIME=bun|deno picks the runtime.",
    "",
  ].join("\n");
}

/** The help of one command, put together from its declaration. */
function help(command: Command): string {
  const rows = Object.entries(command.options).map(([name, option]) => {
    const short = option.short === undefined ? "    " : `-${option.short}, `;
    const value = option.value === undefined ? "" : ` ${option.value}`;
    return [`  ${short}--${name}${value}`, option.help];
  });
  const width = Math.max(...rows.map(([left]) => (left as string).length)) + 2;
  return [
    `usage: vitrine ${command.name} ${command.usage}`,
    "",
    ...command.description,
    "",
    ...rows.map(([left, right]) => `${(left as string).padEnd(width)}${right}`),
    "",
  ].join("\n");
}

/** Runs one command line and returns its exit status. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    const topic = await commandNamed(rest[0]);
    print(topic === undefined ? await overview() : help(topic));
    return name === undefined ? 2 : 0;
  }
  const command = await commandNamed(name);
  if (command === undefined) {
    const near = nearest(name, Object.keys(commands));
    const hint = near === undefined ? "vitrine --help lists them" : `did you mean ${near}?`;
    note(`vitrine: Expected a command, but found ${JSON.stringify(name)}; ${hint}\n`);
    return 2;
  }
  const json = rest.includes("--json");
  try {
    const parsed = parseArguments(command, rest);
    if (parsed.has("help")) {
      print(help(command));
      return 0;
    }
    return await command.run(parsed);
  } catch (error) {
    return report(command, error, json);
  }
}

/** Says what went wrong: on stderr for people and, with `--json`, on stdout for programs. */
function report(command: Command, error: unknown, json: boolean): number {
  if (!(error instanceof Error)) throw error;
  const misuse = error instanceof UsageError || error instanceof RangeError ||
    error instanceof TypeError;
  const aborted = error.name === "AbortError";
  const code = error instanceof EngineError
    ? error.code
    : aborted
    ? "cancelled"
    : misuse
    ? "usage"
    : "internal";
  if (json) printJson({ error: { code, message: error.message } });
  note(`vitrine ${command.name}: ${error.message}\n`);
  if (error instanceof UsageError) note(`vitrine ${command.name} --help says more\n`);
  // A bug of ours: the place is what its report needs.
  if (
    code === "internal" ||
    (misuse && !(error instanceof UsageError) && process.env["VITRINE_DEBUG"])
  ) {
    note(`${error.stack}\n`);
  }
  if (aborted) return 130;
  return misuse ? 2 : 1;
}

// A reader that goes away (`vitrine inspect … | head`) is no error.
process.stdout.on("error", (error: { code?: string }) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
