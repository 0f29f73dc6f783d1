/** Grammars, schemas and banned strings on the command line, with the real model. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { resolveModel } from "../mod.ts";
import { accepts } from "../src/internal/json_schema/accepts.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];

/** Runs one command line to its end. */
function vitrine(args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...runtimeArguments, main, ...args], { encoding: "utf8" });
}

/** Runs a command that must succeed, and parses its JSON. */
// deno-lint-ignore no-explicit-any
function json([command, ...rest]: string[]): any {
  const run = vitrine([command as string, "--json", ...rest]);
  assert.is(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
}

const cli = suite<{ folder: string }>("grammars on the command line");

cli.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), "vitrine-cli-"));
  await resolveModel("smollm2");
});

cli.after((context) => rmSync(context.folder, { recursive: true, force: true }));

cli("a schema, a grammar and banned strings are followed", ({ folder }) => {
  const schema = {
    type: "object",
    properties: {
      name: { type: "string", minLength: 1, maxLength: 20 },
      legs: { type: "integer", minimum: 0, maximum: 8 },
      colours: {
        type: "array",
        items: { enum: ["black", "white", "red"] },
        minItems: 1,
        maxItems: 3,
      },
    },
    required: ["name", "legs", "colours"],
    additionalProperties: false,
  };
  const [schemaFile, grammarFile] = [join(folder, "schema.json"), join(folder, "yes.gbnf")];
  writeFileSync(schemaFile, JSON.stringify(schema));
  writeFileSync(grammarFile, 'root ::= "Yes" | "No"');
  const object = json([
    "run",
    "--greedy",
    "-n",
    "120",
    "--json-schema",
    schemaFile,
    "Describe a cat.",
  ]);
  assert.is(object.stop_reason, "end");
  assert.ok(accepts(schema, schema, JSON.parse(object.text)), object.text);
  const answer = json(["run", "--grammar", grammarFile, "--seed", "1", "Is water wet?"]);
  assert.match(answer.text, /^(Yes|No)$/);
  const said = ["run", "--greedy", "-n", "12", "--raw", "The capital of France is"];
  assert.match(json(said).text, /Paris/);
  assert.not.match(json([...said, "--ban", '["Paris", "ris"]']).text, /ris/);
  const both = vitrine(["run", "--grammar", grammarFile, "--json-schema", schemaFile, "x"]);
  assert.match(both.stderr, /Expected --grammar or --json-schema, but found both/);
});

cli.run();
