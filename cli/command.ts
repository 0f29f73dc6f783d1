import type { Arguments } from "./arguments.ts";

/** One option of a command. */
export interface CommandOption {
  /** One letter. */
  readonly short?: string;
  /** What the value is called in the help; an option without one is a switch. */
  readonly value?: string;
  /** One line. */
  readonly help: string;
}

/** One command of the command line: what its help says, and what it does. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What stands behind the name in the first line of the help. */
  readonly usage: string;
  readonly description: readonly string[];
  readonly options: Readonly<Record<string, CommandOption>>;
  /** The fewest and the most positional arguments. */
  readonly positionals: readonly [number, number];
  /** Does it, and returns the exit status. */
  readonly run: (given: Arguments) => Promise<number>;
}

/** Options that every command has. */
export const commonOptions = {
  json: { help: "print one JSON object on stdout" },
  help: { short: "h", help: "print this" },
} as const satisfies Record<string, CommandOption>;
