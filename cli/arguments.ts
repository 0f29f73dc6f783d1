/**
 * Reads a command line by a command's declaration. What doesn't fit is refused with the name that
 * was probably meant; nothing is dropped silently.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { nearest } from "../src/store/nearest.ts";
import type { Command } from "./command.ts";

/** The command line doesn't fit the command. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What was given on the command line, checked against the declaration. */
export class Arguments {
  readonly positionals: readonly string[];
  /** Names of the options in the order in which they were given. */
  readonly order: readonly string[];
  readonly #values: ReadonlyMap<string, string | true>;

  constructor(positionals: readonly string[], values: ReadonlyMap<string, string | true>) {
    this.positionals = positionals;
    this.order = [...values.keys()];
    this.#values = values;
  }

  /** Whether an option was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of an option; nothing when it wasn't given. */
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === "string" ? value : undefined;
  }

  /** The value of an option that is a whole number from `min` to `max`. */
  integer(name: string, min: number, max = Number.MAX_SAFE_INTEGER): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!/^-?\d+$/.test(text) || !(value >= min && value <= max)) {
      const range = max === Number.MAX_SAFE_INTEGER
        ? `of at least ${min}`
        : `from ${min} to ${max}`;
      throw new UsageError(
        `Expected a whole number ${range} after --${name}, but found ${quote(text)}`,
      );
    }
    return value;
  }

  /** The value of an option that is a number. Its range is checked by who uses it. */
  number(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text.trim() === "" || !Number.isFinite(value)) {
      throw new UsageError(`Expected a number after --${name}, but found ${quote(text)}`);
    }
    return value;
  }

  /** The value of an option that is one of some words. */
  choice<const Word extends string>(name: string, words: readonly Word[]): Word | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const word = words.find((word) => word === text);
    if (word === undefined) {
      const near = nearest(text, words);
      throw new UsageError(
        `Expected ${words.join(" or ")} after --${name}, but found ${quote(text)}${
          near === undefined ? "" : `; did you mean ${near}?`
        }`,
      );
    }
    return word;
  }
}

/** Reads a command line. Throws a `UsageError` when it doesn't fit; `--help` stops all checks. */
export function parseArguments(command: Command, argv: readonly string[]): Arguments {
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(command.options).map(([name, option]) => [name, {
        type: option.value === undefined ? "boolean" as const : "string" as const,
        ...(option.short !== undefined && { short: option.short }),
      }]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const positionals: string[] = [];
  const values = new Map<string, string | true>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const value = optionValue(command, token);
    if (values.has(token.name)) {
      throw new UsageError(`Expected --${token.name} once, but found it twice`);
    }
    values.set(token.name, value);
  }
  if (!values.has("help")) checkPositionals(command, positionals);
  return new Arguments(positionals, values);
}

function optionValue(
  command: Command,
  token: {
    name: string;
    rawName: string;
    value?: string | undefined;
    inlineValue?: boolean | undefined;
  },
): string | true {
  const option = command.options[token.name];
  if (option === undefined) {
    const near = nearest(token.name, Object.keys(command.options));
    throw new UsageError(
      `Expected an option of ${command.name}, but found ${token.rawName}${
        near === undefined ? "" : `; did you mean --${near}?`
      }`,
    );
  }
  if (option.value === undefined) {
    if (token.value !== undefined) {
      throw new UsageError(
        `Expected no value for --${token.name}, but found ${quote(token.value)}`,
      );
    }
    return true;
  }
  if (token.value === undefined) {
    throw new UsageError(`Expected ${option.value} after ${token.rawName}, but found nothing`);
  }
  // `--seed --greedy` is a forgotten value; `--temperature -1` is a number for the range check.
  const isOption = /^--?[A-Za-z]/.test(token.value) && !token.inlineValue;
  if (isOption) {
    throw new UsageError(
      `Expected ${option.value} after ${token.rawName}, but found ${token.value}`,
    );
  }
  return token.value;
}

function checkPositionals(command: Command, positionals: readonly string[]): void {
  const [fewest, most] = command.positionals;
  if (positionals.length >= fewest && positionals.length <= most) return;
  const found = positionals.length === 0 ? "nothing" : positionals.map(quote).join(" ");
  throw new UsageError(`Expected ${command.name} ${command.usage}, but found ${found}`);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);
}
