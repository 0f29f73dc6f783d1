/**
 * Runs the examples in the documentation: every ```ts block of the module's comments and of the
 * README, each as a script of its own, beside this module and under this runtime. They name the
 * default model; here that name stands for a tiny one.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tinyModel } from "./support/tiny_model.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const inDeno = "Deno" in globalThis;

interface Example {
  readonly place: string;
  readonly code: string;
}

/** The examples of a text; in a comment each line begins with an asterisk. */
function examplesOf(text: string, file: string): Example[] {
  const found: Example[] = [];
  for (const match of text.matchAll(/^([ \t]*\*?[ \t]?)```ts\n([\s\S]*?)^[ \t]*\*?[ \t]?```$/gm)) {
    const lines = (match[2] ?? "").split("\n").map((line) => line.replace(/^[ \t]*\* ?/, ""));
    const number = text.slice(0, match.index).split("\n").length;
    found.push({ place: `${file}:${number}`, code: lines.join("\n") });
  }
  return found;
}

/** The files with public symbols, by their paths in `src`. */
const sources = ["", "measures/"].flatMap((folder) =>
  readdirSync(join(root, "src", folder)).filter((name) => name.endsWith(".ts")).sort()
    .map((name) => folder + name)
);
const examples = [
  ...sources.map((name) => `src/${name}`),
  "README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) =>
    `docs/${name}`
  ),
].flatMap((file) => examplesOf(readFileSync(join(root, file), "utf8"), file));

const docs = suite("documentation");

docs("examples are found where they are written", () => {
  assert.equal(examplesOf("a\n```ts\nx;\ny;\n```\n```sh\nz\n```\n", "a"), [{
    place: "a:2",
    code: "x;\ny;\n",
  }]);
  assert.equal(examplesOf("/**\n * ```ts\n * x;\n *\n * y;\n * ```\n */", "b"), [{
    place: "b:2",
    code: "x;\n\ny;\n",
  }]);
  const files = new Set(examples.map((example) => example.place.split(":")[0]));
  for (const name of ["load_model", "model", "session", "generation", "greedy", "top_p"]) {
    assert.ok(files.has(`src/${name}.ts`), name);
  }
});

docs("every public function and class has an example", () => {
  const files = new Set(examples.map((example) => example.place.split(":")[0]));
  for (const name of sources) {
    const text = readFileSync(join(root, "src", name), "utf8");
    if (!/^export (async )?(function|class) /m.test(text)) continue;
    assert.ok(files.has(`src/${name}`), `src/${name} exports something and has no example`);
  }
});

/** The script of an example: imports of the module point to it, names of models to a tiny one. */
function script(example: Example, model: string): string {
  return example.code
    .replaceAll(/from "(\.\/|vitrine|\.\.\/)*mod\.ts"/g, `from "${root}/mod.ts"`)
    .replaceAll(/from "vitrine"/g, `from "${root}/mod.ts"`)
    .replaceAll(/\b(loadModel|estimate)\("(?!\.)[^"]*"/g, `$1(${JSON.stringify(model)}`);
}

docs("every example runs", () => {
  const folder = mkdtempSync(join(root, "tests", "made-examples-"));
  try {
    // Heads of 32 values, which every format of the cache takes.
    const model = tinyModel({ embedding: 128 });
    const files = examples.map((example, i) => {
      const file = join(folder, `example_${i}.ts`);
      writeFileSync(file, script(example, model));
      return file;
    });
    const call = (place: string, commands: string[], env: Record<string, string> = {}) => {
      const run = spawnSync(process.execPath, commands, {
        encoding: "utf8",
        timeout: 120_000,
        // What an example writes goes with the folder.
        cwd: folder,
        env: { ...process.env, ...env, NO_COLOR: "1" },
      });
      assert.is(run.status, 0, `${place} failed:\n${run.stdout}${run.stderr}`);
    };
    if (inDeno) call("the type check of the examples", ["check", "--quiet", ...files]);
    const runArguments = inDeno ? ["run", "--quiet", "--allow-all"] : ["run"];
    for (const [i, example] of examples.entries()) {
      // What an example keeps of a tiny model must not stay in the user's cache.
      const env = example.code.includes("packed:") ? { VITRINE_CACHE: folder } : {};
      call(example.place, [...runArguments, files[i] ?? ""], env);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

docs("importing the module prints nothing and opens no library", () => {
  const folder = mkdtempSync(join(root, "tests", "made-import-"));
  try {
    const file = join(folder, "import.ts");
    writeFileSync(file, `import "${root}/mod.ts";\n`);
    const runtimeArguments = inDeno ? ["run", "--quiet", "--allow-read", "--allow-env"] : ["run"];
    const run = spawnSync(process.execPath, [...runtimeArguments, file], {
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, VITRINE_LIBRARY: "/no/such/library.so" },
    });
    assert.is(run.status, 0, run.stderr);
    assert.is(run.stdout, "");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
docs.run();
