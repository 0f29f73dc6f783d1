/**
 * `vitrine tokenize`: how a model splits a text.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { UsageError } from "./arguments.ts";
import { type Command, commonOptions } from "./command.ts";
import { openModel } from "./model.ts";
import { note, print, printJson, table } from "./output.ts";

/** The command. */
export const tokenize: Command = {
  name: "tokenize",
  summary: "show the tokens of a text",
  usage: "MODEL TEXT|--file F",
  description: [
    "Prints the ids and the texts of the tokens. Only the vocabulary is loaded, so a file without",
    "weights will do.",
  ],
  options: {
    file: { short: "f", value: "F", help: "read the text from this file" },
    "no-special": { help: "names of special tokens in the text are plain text" },
    "no-bos": { help: "do not add the tokens that the model puts around a text" },
    ...commonOptions,
  },
  positionals: [1, 2],
  run: async (given) => {
    const [ref, argument] = given.positionals as [string, string | undefined];
    const file = given.text("file");
    if ((argument === undefined) === (file === undefined)) {
      throw new UsageError(
        `Expected a text or --file, but found ${file === undefined ? "neither" : "both"}`,
      );
    }
    const text = argument ?? readText(file as string);
    using model = await openModel(ref, given, { vocabularyOnly: true });
    const tokens = model.tokenize(text, {
      addSpecial: !given.has("no-bos"),
      parseSpecial: !given.has("no-special"),
    });
    if (given.has("json")) {
      printJson({ tokens: Array.from(tokens) });
      return 0;
    }
    const rows = Array.from(tokens, (token) => [
      String(token),
      JSON.stringify(model.detokenize([token], { special: true })),
    ]);
    print(table([["id", "text"], ...rows]));
    note(`${tokens.length} tokens\n`);
    return 0;
  },
};

/** Reads a file of text; a missing one is the caller's mistake. */
export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(
      `Expected a text file at ${path}, but found ${(error as { code?: string }).code ?? error}`,
    );
  }
}
