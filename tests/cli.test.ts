/**
 * The command line, run as a user runs it: what it prints, what it refuses and how, and its exit
 * status. The real model is fetched when it isn't in the cache yet.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { greedy, loadModel, resolveModel } from "../mod.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs one command line to its end. */
function vitrine(args: string[], input = "", env: Record<string, string> = {}): Ended {
  const run = spawnSync(process.execPath, [...runtimeArguments, main, ...args], {
    encoding: "utf8",
    input,
    env: { ...process.env, ...env },
  });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

/** Runs a command that must succeed, and parses its JSON. */
// deno-lint-ignore no-explicit-any
function json(args: string[], input = ""): any {
  const [command, ...rest] = args as [string, ...string[]];
  const run = vitrine([command, "--json", ...rest], input);
  assert.is(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
}

const cli = suite<{ folder: string; model: string }>("cli");

cli.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), "vitrine-cli-"));
  context.model = await resolveModel("smollm2");
});

cli.after((context) => rmSync(context.folder, { recursive: true, force: true }));

cli("each command has a help, and the overview names it", () => {
  const overview = vitrine(["--help"]);
  assert.is(overview.status, 0);
  for (
    const name of [
      "run",
      "chat",
      "tokenize",
      "inspect",
      "perplexity",
      "kv",
      "trace",
      "sample",
      "samplers",
      "pull",
      "bench",
    ]
  ) {
    assert.match(overview.stdout, new RegExp(`^  ${name} `, "m"));
    const help = vitrine([name, "--help"]);
    assert.is(help.status, 0);
    assert.match(help.stdout, new RegExp(`^usage: vitrine ${name} `));
    assert.match(help.stdout, /--json/);
  }
});

cli("what doesn't fit is refused by name, with exit status 2", () => {
  const refusals: [string[], RegExp][] = [
    [[], /usage: vitrine COMMAND/],
    [["pul", "x"], /found "pul"; did you mean pull\?/],
    [["run"], /Expected run \[MODEL\] PROMPT, but found nothing/],
    [["run", "a", "b", "c"], /but found "a" "b" "c"/],
    [["run", "--tempreature", "1", "x"], /found --tempreature; did you mean --temperature\?/],
    [["run", "-n", "many", "x"], /whole number of at least 1 after --tokens, but found "many"/],
    [["run", "-n", "x"], /whole number .* after --tokens, but found "x"|but found nothing/],
    [["run", "--seed", "--raw", "x"], /Expected S after --seed, but found --raw/],
    [["run", "--seed", "18446744073709551616", "x"], /from 0 to 2\^64 - 1 after --seed/],
    [["run", "--seed", "1", "--seed", "2", "x"], /Expected --seed once/],
    [
      ["run", "--greedy", "--top-k", "4", "x"],
      /--greedy without other sampler stages, but found --top-k/,
    ],
    [
      ["run", "--sampler", "temp=1", "--top-k", "4", "x"],
      /--sampler without other sampler stages, but found --top-k/,
    ],
    [["run", "--sampler", "temp=1", "--greedy", "x"], /--greedy without .* found --sampler/],
    [["run", "--sampler", "top-q=1", "x"], /a sampler stage \(greedy, .* but found "top-q=1"/],
    [["run", "--sampler", "top-p=1.5", "x"], /p of topP to be from 0 to 1, but found 1.5/],
    [["run", "--mirostat", "hot", "x"], /numbers after mirostat=, but found "hot"/],
    [["run", "--dry", "1:2:3:4:5", "x"], /Expected dry=MULTIPLIER:.*found "dry=1:2:3:4:5"/],
    [["run", "--adaptive-p", "0.3,top-k=3", "x"], /values of one stage after --adaptive-p/],
    [["run", "--logit-bias", "[[1]]", "x"], /a pair of a token and a number, but found an array/],
    [["run", "--repetition-penalty", "0", "x"], /from 0.01 to 100, but found 0/],
    [["run", "--greedy", "--dry", "1", "x"], /found --dry/],
    [["run", "--temperature", "-1", "x"], /temperature .* but found -1/],
    [["run", "--temperature", "hot", "x"], /a number after --temperature, but found "hot"/],
    [
      ["run", "--key-format", "f61", "x"],
      /f32 or f16 or bf16 or q8_0 or int8 or f8_e4m3 or f8_e5m2 or q5_1 or .* or int2 after --key-format, but found "f61"/,
    ],
    [["run", "--restore", "f", "--kv-policy", "p", "x"], /as the file .* but found --kv-policy/],
    [["run", "--evict", "lru=5", "x"], /window=SINKS:RECENT.* after --evict, but found "lru=5"/],
    [["run", "--evict", "window=4", "x"], /after --evict, but found "window=4"/],
    [["run", "--evict", "tova=0", "x"], /budget.* but found 0/],
    [["run", "--evict", "tova=9", "--restore", "f", "x"], /of its own to evict.*found --restore/],
    [["run", "--logprobs", "65", "x"], /from 0 to 64 after --logprobs/],
    [["run", "--raw=yes", "x"], /no value for --raw/],
    [["tokenize", "smollm2"], /Expected a text or --file, but found neither/],
    [["tokenize", "smollm2", "x", "--file", "y"], /but found both/],
    [["perplexity", "smollm2"], /Expected --file/],
    [["perplexity", "smollm2", "--file", "/none"], /text file at \/none, but found ENOENT/],
  ];
  for (const [args, message] of refusals) {
    const run = vitrine(args);
    assert.is(run.status, 2, `${args.join(" ")}: ${run.stderr}`);
    assert.match(run.stderr + run.stdout, message);
  }
});

cli("a failure has exit status 1 and, with --json, an object with a code", () => {
  const run = vitrine(["inspect", "./none.gguf", "--json"]);
  assert.is(run.status, 1);
  assert.match(run.stderr, /^vitrine inspect: Expected /);
  assert.match(JSON.parse(run.stdout).error.code, /^(file|model)-not-found$/);
  assert.is(vitrine(["inspect", main]).status, 1);
});

cli("run keeps a session, and goes on from it", ({ folder, model }) => {
  const file = join(folder, "kept.session");
  const options = ["--raw", "--greedy", "-n"];
  const both = json(["run", model, "The capital of France is", ...options, "12"]);
  const first = json(["run", model, "The capital of France is", ...options, "5", "--save", file]);
  const second = json(["run", model, "", ...options, "7", "--restore", file]);
  assert.equal([...first.tokens, ...second.tokens], both.tokens);
  assert.equal(second.prompt_tokens, []);
  writeFileSync(file, readFileSync(file).subarray(100));
  const damaged = vitrine(["run", model, "x", "--restore", file]);
  assert.is(damaged.status, 1);
  assert.match(damaged.stderr, /kept\.session: expected a saved session, found another kind/);
});

cli("run gives the JSON that programs read, the same as the library", async ({ model }) => {
  const result = json([
    "run",
    model,
    "The capital of France is",
    "--raw",
    "--greedy",
    "-n",
    "6",
    "--logprobs",
    "3",
  ]);
  assert.is(result.steps.length, result.tokens.length);
  assert.is(result.steps.map((s: { text: string }) => s.text).join(""), result.text);
  for (const [i, step] of result.steps.entries()) {
    assert.is(step.token, result.tokens[i]);
    assert.is(step.top.length, 3);
    assert.is(step.top[0].token, step.token);
    assert.is(step.top[0].logprob, step.logprob);
    assert.ok(step.logprob < 0 && step.top[1].logprob <= step.top[0].logprob);
  }
  for (const name of ["load_ms", "prefill_ms", "prefill_tok_s", "decode_tok_s", "first_token_ms"]) {
    assert.ok(result.timings[name] > 0, name);
  }
  for (const name of ["weights_bytes", "kv_bytes", "peak_rss_bytes"]) {
    assert.ok(Number.isInteger(result.memory[name]) && result.memory[name] > 1e6, name);
  }
  assert.type(result.cpu_variant, "string");
  assert.ok(result.threads >= 1);

  using loaded = await loadModel(model);
  using session = loaded.session();
  const generation = session.generate("The capital of France is", {
    sampler: [greedy()],
    maxTokens: 6,
  });
  const text = await generation.text();
  assert.is(result.text, text);
  assert.equal(result.prompt_tokens, Array.from(generation.promptTokens));
  assert.is(result.memory.kv_bytes, session.kv.bytes);
});

cli(
  "the same seed gives the same text, whatever the threads; the chain is printed",
  ({ model }) => {
    const args = [
      "run",
      model,
      "Once upon a time",
      "-n",
      "12",
      "--seed",
      "7",
      "--top-p",
      "0.9",
      "--temperature",
      "0.8",
    ];
    const one = json([...args, "--threads", "1"]);
    const two = json([...args, "--threads", "2"]);
    assert.equal(one.tokens, two.tokens);
    assert.equal(one.steps, two.steps);
    assert.equal(one.sampler.map((s: { name: string }) => s.name), ["top_p", "temperature"]);
    const chain = [...args.slice(0, 7), "--sampler", "top-p=0.9,temp=0.8"];
    assert.equal(json(chain).tokens, one.tokens);
    const people = vitrine(args);
    assert.is(people.stdout, `${one.text}\n`);
    assert.match(people.stderr, /sampler: top-p=0.9,temperature=0.8; seed 7/);
    assert.match(people.stderr, /decode .* tok\/s/);
    assert.match(
      vitrine(["run", model, "x", "-n", "1"]).stderr,
      /sampler: temperature=0.7,top-k=40,top-p=0.95; seed \d+/,
    );
  },
);

cli("--raw leaves the chat template out, --ctx and the formats size the cache", ({ model }) => {
  const raw = json(["run", model, "Hi", "--raw", "-n", "1", "--ctx", "256", "--key-format", "f32"]);
  const chat = json(["run", model, "Hi", "-n", "1", "--ctx", "256", "--value-format", "bf16"]);
  assert.is(raw.prompt_tokens.length, 1);
  assert.ok(chat.prompt_tokens.length > 10);
  assert.is(raw.memory.kv_bytes, chat.memory.kv_bytes * 1.5);
});

cli("--packed maps the second time what it wrote the first", ({ model, folder }) => {
  const args = ["run", model, "Hello", "--raw", "--greedy", "-n", "3", "--json"];
  const texts = new Set<string>();
  for (const [more, state] of [[[], "off"], [["--packed"], "written"], [["--packed"], "mapped"]]) {
    const run = vitrine([...args, ...(more as string[])], "", { VITRINE_CACHE: folder });
    assert.is(run.status, 0, run.stderr);
    const result = JSON.parse(run.stdout);
    assert.is(result.packed, state);
    texts.add(result.text);
  }
  assert.is(texts.size, 1);
  const unsaved = vitrine([...args, "--packed"], "", { VITRINE_CACHE: model });
  assert.is(unsaved.status, 0, unsaved.stderr);
  assert.match(unsaved.stderr, /packed weights are not kept: .*no such folder/);
  assert.is(JSON.parse(unsaved.stdout).packed, "unsaved");
});

cli("a full context ends the answer and says so", ({ model }) => {
  const result = json([
    "run",
    model,
    "One two three",
    "--raw",
    "--greedy",
    "-n",
    "500",
    "--ctx",
    "16",
  ]);
  assert.is(result.stop_reason, "context");
  assert.ok(result.tokens.length > 0 && result.tokens.length <= 16);
  const run = vitrine([
    "run",
    model,
    "a b c d e f g h i j k l m n o p q r s t",
    "--raw",
    "--ctx",
    "8",
  ]);
  assert.is(run.status, 1);
  assert.match(run.stderr, /expected at most 8 .* found \d+/i);
});

cli("tokenize: ids, special tokens and the file agree", async ({ model, folder }) => {
  const file = join(folder, "text.txt");
  writeFileSync(file, "Hello world");
  using loaded = await loadModel(model, { vocabularyOnly: true });
  const tokens = json(["tokenize", model, "Hello world"]).tokens;
  assert.equal(tokens, Array.from(loaded.tokenize("Hello world")));
  assert.equal(json(["tokenize", model, "--file", file]).tokens, tokens);
  assert.is(json(["tokenize", model, "<|im_start|>"]).tokens.length, 1);
  assert.ok(json(["tokenize", model, "<|im_start|>", "--no-special"]).tokens.length > 1);
  assert.equal(
    json(["tokenize", "--", model, "--no-bos"]).tokens,
    Array.from(loaded.tokenize("--no-bos")),
  );
  assert.match(vitrine(["tokenize", model, "Hello world"]).stdout, /" world"/);
});

cli("inspect: what it says about the cache is what a session takes", async ({ model }) => {
  const result = json(["inspect", model]);
  assert.is(result.architecture, "llama");
  assert.is(result.metadata["general.architecture"], "llama");
  assert.is(result.tensors.length, 272);
  assert.is(
    result.formats.reduce((sum: number, f: { tensors: number }) => sum + f.tensors, 0),
    272,
  );
  using loaded = await loadModel(model);
  for (const row of result.kv_cache.filter((row: { context: number }) => row.context === 512)) {
    using session = loaded.session({
      context: 512,
      kv: { key: row.key_format, value: row.value_format },
    });
    assert.is(session.kv.bytes, row.bytes);
  }
  const people = vitrine(["inspect", model]);
  for (const part of [/general\.name/, /q4_1 +210/, /token_embd\.weight/, /KV cache/]) {
    assert.match(people.stdout, part);
  }
});

cli("perplexity is the mean over the predicted tokens of all chunks", async ({ model, folder }) => {
  const file = join(folder, "prose.txt");
  const text = "It was the best of times, it was the worst of times. ".repeat(4);
  writeFileSync(file, text);
  const result = json(["perplexity", model, "--file", file, "--ctx", "16", "-n", "40"]);
  assert.is(result.tokens, 15 + 15 + 7);
  assert.ok(Math.abs(Math.log(result.perplexity) - result.nll) < 1e-9);

  // The same from logits, position by position, with the softmax written out here.
  using loaded = await loadModel(model);
  const tokens = loaded.tokenize(text).subarray(0, 40);
  let sum = 0;
  for (const from of [0, 16, 32]) {
    using session = loaded.session({ context: 16 });
    const chunk = tokens.subarray(from, from + 16);
    await session.prefill(chunk, { allLogits: true });
    for (let i = 0; i + 1 < chunk.length; i++) {
      const logits = session.logits(i);
      const most = logits.reduce((a, b) => Math.max(a, b));
      const mass = logits.reduce((total, x) => total + Math.exp(x - most), 0);
      sum += most + Math.log(mass) - (logits[chunk[i + 1] as number] as number);
    }
  }
  assert.ok(Math.abs(sum / 37 - result.nll) < 1e-4, `${sum / 37} and ${result.nll}`);
});

cli("sample: each continuation is the one that run gives with its seed", ({ model }) => {
  const options = ["-n", "6", "--sampler", "temp=1.1,top-p=0.9", "--threads", "2"];
  const seed = ["--seed", "18446744073709551614"];
  const many = json(["sample", model, "The sea was", "--many", "3", ...options, ...seed]);
  const seeds = many.samples.map((row: { seed: number | string }) => row.seed);
  assert.equal(seeds, ["18446744073709551614", "18446744073709551615", 0]);
  for (const row of many.samples) {
    const own = ["run", model, "The sea was", "--raw", ...options, "--seed", String(row.seed)];
    const alone = json(own);
    assert.equal([row.tokens, row.text, row.stop_reason], [
      alone.tokens,
      alone.text,
      alone.stop_reason,
    ]);
  }
  const people = vitrine(["sample", model, "The sea was", "--many", "2", ...options, ...seed]);
  assert.match(people.stderr, /seed 18446744073709551615, 6 tokens, length/);
  assert.ok(people.stdout.startsWith(many.samples[0].text));
});

cli("samplers: a comparison as table, JSON and chart", ({ model, folder }) => {
  const file = join(folder, "prompts.txt");
  const chart = join(folder, "samplers.svg");
  writeFileSync(file, "The sea was\n\nNobody knew why\n");
  const few = ["-f", file, "--trials", "2", "-n", "8"];
  const chains = ["--samplers", "greedy;temp=0.8,top-p=0.9;"];
  const command = ["samplers", model, "compare", ...few, ...chains, "--svg", chart];
  const result = json(command);
  assert.equal([result.prompts, result.trials, result.max_tokens], [2, 2, 8]);
  const [greedy, nucleus, none] = result.samplers;
  assert.is(nucleus.sampler, "temperature=0.8,top-p=0.9");
  assert.is(none.sampler, "");
  assert.ok(Math.abs(greedy.measures.self_bleu4.mean - 1) < 1e-9);
  assert.ok(greedy.measures.perplexity.mean < none.measures.perplexity.mean);
  assert.is(nucleus.measures.length.corpus, 8);
  const svg = readFileSync(chart, "utf8");
  assert.is(svg.match(/<circle/g)?.length, 3);
  assert.match(svg, /temperature=0\.8,top-p=0\.9/);
  const people = vitrine(command);
  assert.match(people.stdout, /^sampler +perplexity .*\ngreedy +\d/);
  assert.is(people.stdout.trim().split("\n").length, 4);
  const wrong: [string[], RegExp][] = [
    [["samplers", model, "compar", ...few], /did you mean compare/],
    [["samplers", model, "compare"], /Expected --file/],
    [["samplers", model, "compare", ...few, "--measure", "zip"], /did you mean zipf/],
    [["samplers", model, "compare", ...few, "--samplers", "temp=1;temp=1"], /found .* twice/],
    [["samplers", model, "compare", ...few, "--samplers", "tempp=1"], /found "tempp=1"/],
  ];
  for (const [args, words] of wrong) {
    const run = vitrine(args);
    assert.is(run.status, 2);
    assert.match(run.stderr, words);
  }
});

cli("kv: the ledger adds up, and formats are compared", ({ model, folder }) => {
  const file = join(folder, "kv.txt");
  writeFileSync(file, "It was the best of times, it was the worst of times. ".repeat(4));
  const input = ["--file", file, "-n", "40"];
  const ledger = json(["kv", model, "ledger", ...input, "--key-format", "q8_0"]);
  assert.is(ledger.tokens, 40);
  assert.is(ledger.key_bits, 8.5);
  const { key_payload, key_scales, value_payload, value_scales, page_slack, free } = ledger;
  assert.is(
    key_payload + key_scales + value_payload + value_scales + page_slack + free,
    ledger.bytes,
  );
  assert.is(ledger.layers.length, 30);
  const compared = json(["kv", model, "compare", ...input, "--formats", "f16,q8_0/f32"]);
  assert.equal(compared.candidates.map((row: { key: string }) => row.key), ["f16", "q8_0"]);
  assert.is(compared.reference.key, "f32");
  const [half, mixed] = compared.candidates;
  assert.ok(half.kl.mean < mixed.kl.mean && mixed.kl.mean < 0.02, `${mixed.kl.mean}`);
  assert.is(mixed.bits_per_value, 20.25);
  const people = vitrine(["kv", model, "compare", ...input, "--formats", "f16", "--layers"]);
  assert.match(people.stdout, /f16\/f16 +16/);
  assert.match(people.stdout, /layer/);
  assert.match(vitrine(["kv", model, "ledger", ...input]).stdout, /40 tokens; keys f16, 16 bits/);

  const policy = join(folder, "wide.json");
  writeFileSync(policy, JSON.stringify({ rules: [{ layers: [0, 29], format: "f32" }] }));
  const wide = json(["kv", model, "compare", ...input, "--formats", `f16,${policy}`]);
  assert.is(wide.candidates[1].key, "mixed");
  assert.ok(wide.candidates[1].bits_per_value === 16 + 2 / 30 * 16);
  const own = json(["kv", model, "ledger", ...input, "--kv-policy", policy]);
  assert.is(own.layers[0].key_payload, 2 * own.layers[1].key_payload);
  const nll = (args: string[]) =>
    json(["perplexity", model, "--file", file, "-n", "40", "--precision", "float", ...args]).nll;
  assert.ok(Math.abs(nll(["--kv-policy", policy]) - nll([])) < 1e-3);
  const both = vitrine([
    "kv",
    model,
    "ledger",
    ...input,
    "--kv-policy",
    policy,
    "--key-format",
    "f16",
  ]);
  assert.match(both.stderr, /but found both/);
  writeFileSync(policy, JSON.stringify({ rules: [{ layers: 30, format: "f32" }] }));
  const run = vitrine(["run", model, "Hi", "--kv-policy", policy]);
  assert.is(run.status, 2);
  assert.match(run.stderr, /kv\.rules\[0\]\.layers.*from 0 to 29, but found 30/);
  writeFileSync(policy, "{");
  assert.match(
    vitrine(["run", model, "Hi", "--kv-policy", policy]).stderr,
    /policy as JSON in .*wide/,
  );
  const gone = vitrine(["run", model, "Hi", "--kv-policy", join(folder, "none.json")]);
  assert.match(gone.stderr, /policy in .*none\.json, but /);

  const chosen = join(folder, "chosen.json");
  const chart = join(folder, "chosen.svg");
  const few = ["--file", file, "-n", "12", "--precision", "float", "--formats", "f16,f8_e4m3"];
  const search = ["kv", model, "search", ...few, "--kl", "0.02", "--out", chosen, "--svg", chart];
  const searched = json(search);
  assert.equal(JSON.parse(readFileSync(chosen, "utf8")), searched.best.policy);
  assert.equal(searched.best.policy.shape, { layers: 30, heads: 3 });
  assert.ok(searched.best.kl <= 0.02 && searched.sensitivity.length === 60);
  assert.match(readFileSync(chart, "utf8"), /^<svg .*KL divergence by bits.*<circle /s);
  const again = json(["kv", model, "compare", ...few.slice(0, -1), chosen]);
  assert.is(again.candidates[0].kl.mean, searched.best.kl);
  assert.match(
    vitrine(["kv", model, "search", ...few]).stderr,
    /--kl or --bytes, but found neither/,
  );

  assert.match(vitrine(["kv", model, "compair", ...input]).stderr, /did you mean compare\?/);
  assert.match(vitrine(["kv", model, "ledger"]).stderr, /Expected --file/);
  const wrong = vitrine(["kv", model, "compare", ...input, "--formats", "f16/f17"]);
  assert.match(wrong.stderr, /Expected KEY or KEY\/VALUE of f32.*found "f16\/f17"/);
});

cli("pull prints the path of what is there", ({ model }) => {
  assert.is(vitrine(["pull", "smollm2"]).stdout, `${model}\n`);
  assert.equal(json(["pull", model]), { path: model, bytes: 98362432, fetched: false });
});

cli("chat answers, keeps the conversation, and obeys its commands", ({ model }) => {
  const input = [
    "My name is Ann.",
    "/stats",
    "/sampler --temperature 0.5 --seed 3",
    "/smapler",
    "/sampler --top-q 1",
    "/reset",
    "/stats",
    "/exit",
    "not read",
  ].join("\n");
  const run = vitrine(["chat", model, "--greedy", "-n", "8", "--ctx", "256"], input);
  assert.is(run.status, 0, run.stderr);
  assert.match(run.stderr, /sampler: greedy/);
  assert.match(run.stderr, /2 messages, \d+ of 256 tokens/);
  assert.match(run.stderr, /temperature=0.5; seed 3/);
  assert.match(run.stderr, /found \/smapler; did you mean \/sampler\?/);
  assert.match(run.stderr, /Expected an option of \/sampler, but found --top-q/);
  assert.match(run.stderr, /0 messages, 0 of 256 tokens/);
  const answers = vitrine(
    ["chat", model, "--greedy", "-n", "8", "--ctx", "256", "--json"],
    "Hi\nAgain\n",
  );
  const lines = answers.stdout.trim().split("\n").map((line) => JSON.parse(line));
  assert.is(lines.length, 2);
  for (const line of lines) assert.ok(line.tokens.length > 0 && line.text.length > 0);
});

/** A running command, with all that it has written so far. */
class Running {
  readonly child: ChildProcess;
  /** Exit status, when it has ended and everything it wrote was read. */
  readonly ended: Promise<number | null>;
  #text = "";
  #waiters: (() => void)[] = [];

  constructor(args: string[]) {
    this.child = spawn(process.execPath, [...runtimeArguments, main, ...args]);
    // Both streams are read from the beginning: one that is read late can lose its end under Deno.
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk) => {
        this.#text += String(chunk);
        for (const wake of this.#waiters.splice(0)) wake();
      });
    }
    this.ended = new Promise((resolve) => this.child.once("close", (code) => resolve(code)));
  }

  /** Ctrl-C. Not `child.kill`: Deno's closes the child's input as well, and the chat would end by that. */
  interrupt(): void {
    process.kill(this.child.pid as number, "SIGINT");
  }

  /** Waits until it has written something that matches. */
  async said(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.#text)) {
      const more = new Promise<true>((resolve) => this.#waiters.push(() => resolve(true)));
      if (await Promise.race([more, this.ended]) === true) continue;
      assert.match(this.#text, pattern);
    }
  }
}

cli("Ctrl-C stops the answer of a chat and not the program, and ends a run", async ({ model }) => {
  const chat = new Running(["chat", model, "--ctx", "4096", "--seed", "1"]);
  await chat.said(/\/help lists commands\n/);
  chat.child.stdin?.write("Write a very long story about the sea, with many chapters.\n");
  await chat.said(/lists commands\n[^]*\w/);
  chat.interrupt();
  await chat.said(/\(stopped\)/);
  chat.child.stdin?.write("/stats\n");
  await chat.said(/2 messages/);
  chat.child.stdin?.end("/exit\n");
  assert.is(await chat.ended, 0);

  const run = new Running(["run", model, "--raw", "-n", "4000", "One, two,"]);
  await run.said(/seed \d+\n[^]*\w/);
  run.interrupt();
  assert.is(await run.ended, 130);
});

cli("bench prints rates of ours, and none of the peer that was left out", ({ model }) => {
  const result = json(["bench", model, "--no-peer", "-p", "16", "-n", "4", "-r", "2"]);
  assert.ok(result.prefill_tok_s > 0 && result.decode_tok_s > 0);
  assert.is(result.peer, null);
  for (const part of ["prefill", "decode"]) {
    const { median, min, max } = result[part];
    assert.ok(min <= median && median <= max);
  }
  assert.match(
    vitrine(["bench", model, "--no-peer", "-p", "16", "-n", "4", "-r", "1"]).stdout,
    /Vitrine +\d/,
  );
});

cli("bench runs beside its peer, and both always generate the same", ({ model }) => {
  if (`${process.platform}-${process.arch}` !== "linux-x64") {
    process.stdout.write(
      `\nskipped: the peer is installed on linux-x64 only, this is ${process.platform}-${process.arch}\n`,
    );
    return;
  }
  const result = json(["bench", model, "-p", "16", "-n", "4", "-r", "2"]);
  assert.match(result.peer.name, /llama\.cpp/);
  for (const engine of [result, result.peer]) {
    assert.ok(engine.prefill_tok_s > 0 && engine.decode_tok_s > 0);
    assert.ok(Number.isInteger(engine.hash));
  }
});

cli.run();
