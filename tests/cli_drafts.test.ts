/** Drafts on the command line: from the text, from a smaller model, and models that can't guess. */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadModel, type MetadataArray } from "../mod.ts";
import { tinyModel, vocabularySize } from "./support/tiny_model.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
const model = tinyModel({ context: 512 });
const small = tinyModel({ context: 512, layers: 1, embedding: 32 });
const prompt = "the other in the other in the other in the other in the";
const sampling = ["--raw", "--temperature", "0.5", "--seed", "3", "-n", "40"];

/** Runs one command line to its end. */
function vitrine(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...runtimeArguments, main, ...args], { encoding: "utf8" });
}

const cli = suite("drafts on the command line");

cli("the text is the one without, and what came of the guesses is told", () => {
  const run = (...draft: string[]) => {
    const { status, stdout, stderr } = vitrine(
      ...["run", "--json", model, prompt, ...sampling, ...draft],
    );
    assert.is(status, 0, stderr);
    return JSON.parse(stdout);
  };
  const plain = run();
  assert.is(plain.draft, undefined);
  for (const draft of [["ngram"], [small], [model, "--draft-length", "4"]]) {
    const found = run("--draft", ...draft);
    assert.is(found.text, plain.text);
    const { drafted, accepted, passes } = found.draft;
    assert.ok(drafted > 0 && accepted <= drafted, `${drafted}, ${accepted}`);
    const sum = (key: string) =>
      passes.reduce((all: number, pass: Record<string, number>) => all + (pass[key] ?? 0), 0);
    assert.equal([sum("drafted"), sum("accepted")], [drafted, accepted]);
    // The model agrees with itself.
    if (draft[0] === model) assert.is(accepted, drafted);
    if (draft.length > 1) assert.ok(passes.every((pass: { drafted: number }) => pass.drafted <= 4));
  }
  const told = vitrine("run", model, prompt, ...sampling, "--draft", "ngram");
  assert.match(told.stderr, /\d+ of \d+ guesses right/);
});

cli("who can't guess is named", async () => {
  using known = await loadModel(model, { threads: 1 });
  const names = (known.metadata.get("tokenizer.ggml.tokens") as MetadataArray).slice() as string[];
  names[vocabularySize - 4] = "other";
  const metadata = {
    "tokenizer.ggml.tokens": { type: "array", of: "string", value: names },
  } as const;
  const refused = (words: RegExp, ...draft: string[]) => {
    const { status, stdout, stderr } = vitrine("run", model, prompt, ...sampling, ...draft);
    assert.ok(status !== 0);
    assert.is(stdout, "");
    assert.match(stderr, words);
  };
  const token = vocabularySize - 4;
  const words = new RegExp(`same tokens, found token ${token} to be .* and "other"`);
  refused(words, "--draft", tinyModel({ metadata, layers: 1 }));
  refused(/no-such-model/, "--draft", "./no-such-model.gguf");
  refused(/draft-length/, "--draft", "ngram", "--draft-length", "33");
});
cli.run();
