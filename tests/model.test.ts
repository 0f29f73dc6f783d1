/** Models: loading, what the file says, tokens and text, chat templates. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  engineInfo,
  kvFormats,
  kvGroupFormats,
  loadModel,
  type LoadProgress,
} from "../mod.ts";
import { SamplerStages } from "../src/ffi/symbols.gen.ts";
import { rejection } from "./support/rejection.ts";
import { temporaryPath, tinyModel, tinyModelBytes, vocabularySize } from "./support/tiny_model.ts";

const loading = suite("loading");

loading("a model says what it is", async () => {
  const path = tinyModel();
  using model = await loadModel(path, { threads: 1, precision: "float" });
  const { info } = model;
  assert.is(info.architecture, "llama");
  assert.is(info.path, path);
  assert.is(info.threads, 1);
  assert.is(info.precision, "float");
  assert.is(info.vocabulary, vocabularySize);
  assert.is(info.logits, vocabularySize);
  assert.equal([info.layers, info.embedding, info.heads, info.kvHeads], [2, 64, 4, 2]);
  assert.equal([info.keyLength, info.valueLength, info.contextTrain], [16, 16, 512]);
  assert.equal([info.bos, info.eos], [1, 2]);
  assert.ok(info.weightsBytes > 80_000);
  assert.ok(info.cpuVariant.length > 0);
});

loading("a script that lies elsewhere loads one", () => {
  const module = new URL("../mod.ts", import.meta.url).href;
  const script = temporaryPath("elsewhere.ts");
  writeFileSync(
    script,
    `import { loadModel } from "${module}";
using model = await loadModel(${JSON.stringify(tinyModel())}, { threads: 1 });
console.log(String(model.info.layers));`,
  );
  const runtime = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
  const options = { cwd: dirname(script), encoding: "utf8" } as const;
  const run = spawnSync(process.execPath, [...runtime, script], options);
  assert.equal([run.stdout, run.status], ["2\n", 0], run.stderr);
});

loading("progress ends with everything", async () => {
  const seen: LoadProgress[] = [];
  using model = await loadModel(tinyModel(), {
    onProgress: (progress) => void seen.push(progress),
  });
  assert.is(model.info.layers, 2);
  const last = seen.at(-1);
  assert.is(last?.phase, "load");
  assert.ok(last !== undefined && last.total > 0 && last.done === last.total);
});

loading("a signal that has fired refuses, with its reason", async () => {
  const reason = new Error("not today");
  assert.is(await rejection(loadModel(tinyModel(), { signal: AbortSignal.abort(reason) })), reason);
});

loading("a signal ends a load, and the next load works", async () => {
  const path = tinyModel({ layers: 8, embedding: 256, feedForward: 1024 });
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const promise = loadModel(path, { signal: controller.signal });
    if (i % 2 === 0) await Promise.resolve();
    else await new Promise((resolve) => setTimeout(resolve, i / 4));
    controller.abort();
    await promise.then((model) => model.dispose(), (error) => assert.is(error.name, "AbortError"));
  }
  using model = await loadModel(path);
  assert.is(model.info.layers, 8);
});

loading("files that are no models are refused with a reason", async () => {
  const bytes = tinyModelBytes();
  const broken: [Uint8Array, string][] = [
    [new Uint8Array(0), "invalid-file"],
    [new TextEncoder().encode("this is not a model at all, just some text"), "invalid-file"],
    [bytes.slice(0, 1000), "invalid-file"],
    [bytes.slice(0, bytes.length - 1000), "invalid-file"],
    [
      tinyModelBytes({ metadata: { "general.architecture": { type: "string", value: "nobody" } } }),
      "unsupported",
    ],
    [
      tinyModelBytes({ metadata: { "tokenizer.ggml.model": { type: "string", value: "nobody" } } }),
      "unsupported",
    ],
  ];
  for (const [content, code] of broken) {
    const path = temporaryPath("broken.gguf");
    writeFileSync(path, content);
    const error = await rejection(loadModel(path));
    assert.instance(error, EngineError);
    assert.is((error as EngineError).code, code, error.message);
    assert.match(error.message, /expected/i);
  }
});

loading("a path may have letters of any alphabet", async () => {
  const path = temporaryPath("模型 é 🙂.gguf");
  writeFileSync(path, tinyModelBytes());
  using model = await loadModel(path);
  assert.is(model.info.path, path);
});

loading("a vocabulary tokenizes and does nothing else", async () => {
  for (const shape of [{ vocabularyOnly: true }, {}]) {
    using model = await loadModel(tinyModel(shape), { vocabularyOnly: true });
    assert.is(model.detokenize(model.tokenize("the head")), "the head");
    assert.throws(() => model.session(), /vocabulary/);
  }
});

loading("disposing again is harmless, and use afterwards is an error", async () => {
  const model = await loadModel(tinyModel());
  model.dispose();
  model.dispose();
  for (
    const use of [
      () => model.info,
      () => model.tokenize("a"),
      () => model.session(),
      () => model.metadata,
    ]
  ) {
    assert.throws(
      use,
      (error: unknown) => error instanceof EngineError && error.code === "disposed",
    );
  }
});

loading("the library says what it knows", async () => {
  const info = await engineInfo();
  assert.match(info.version, /^\d+\.\d+\.\d+$/);
  assert.equal(info.cacheFormats, [...kvFormats, ...kvGroupFormats]);
  assert.equal([...info.samplerStages].sort(), Object.keys(SamplerStages).sort());
  for (const format of ["q4_k", "mxfp4", "iq1_s"]) assert.ok(info.formats.includes(format));
  for (const name of ["llama", "gemma3", "qwen2", "qwen3"]) {
    assert.ok(info.architectures.includes(name));
  }
});
loading.run();

const tokens = suite("tokens and text");

tokens("text comes back", async () => {
  using model = await loadModel(tinyModel());
  for (const text of ["the head", "", "é 模型 🙂 \n\t", "a".repeat(5000), "\u0000"]) {
    assert.is(model.detokenize(model.tokenize(text)), text);
  }
  assert.is(model.tokenize("a")[0], 1);
  assert.is(model.tokenize("a", { addSpecial: false })[0] === 1, false);
  assert.equal([...model.tokenize("", { addSpecial: false })], []);
});

tokens("special tokens are read and written on demand", async () => {
  using model = await loadModel(tinyModel());
  const user = vocabularySize - 2;
  assert.ok(model.tokenize("<|user|>a").includes(user));
  assert.is(model.tokenize("<|user|>a", { parseSpecial: false }).includes(user), false);
  assert.is(model.detokenize([user]), "");
  assert.is(model.detokenize([user], { special: true }), "<|user|>");
});

tokens("wrong arguments are refused", async () => {
  using model = await loadModel(tinyModel());
  assert.throws(() => model.tokenize(1 as unknown as string), /Expected a text/);
  assert.throws(() => model.tokenize("a", { addBos: true } as object), /addBos/);
  assert.throws(() => model.detokenize([vocabularySize]), /whole number from 0 to/);
  assert.throws(() => model.detokenize([-1]), /whole number/);
  assert.throws(() => model.detokenize([1.5]), /whole number/);
  assert.throws(() => model.detokenize("ab" as unknown as number[]), /array of token ids/);
});
tokens.run();

const file = suite("metadata and tensors");

file("every type arrives as it is in the file", async () => {
  using model = await loadModel(tinyModel({
    metadata: {
      "t.u64": { type: "uint64", value: 0xffff_ffff_ffff_ffffn },
      "t.u64.safe": { type: "uint64", value: 2n ** 53n - 1n },
      "t.u64.edge": { type: "uint64", value: 2n ** 53n },
      "t.i64": { type: "int64", value: -(2n ** 63n) },
      "t.i64.small": { type: "int64", value: -7n },
      "t.i32": { type: "int32", value: -1 },
      "t.f64": { type: "float64", value: 1e300 },
      "t.nan": { type: "float32", value: NaN },
      "t.no": { type: "bool", value: false },
      "t.empty": { type: "string", value: "" },
      "t.text": { type: "string", value: "é🙂".repeat(3000) },
      "t.a.u64": { type: "array", of: "uint64", value: [0n, 0xffff_ffff_ffff_ffffn] },
      "t.a.bool": { type: "array", of: "bool", value: [true, false] },
      "t.a.text": { type: "array", of: "string", value: ["", "x".repeat(100_000), "é"] },
      "t.a.none": { type: "array", of: "float32", value: [] },
      "t.a.u8": {
        type: "array",
        of: "uint8",
        value: Array.from({ length: 9000 }, (_, i) => i % 256),
      },
    },
  }));
  const { metadata } = model;
  assert.is(metadata.get("t.u64"), 0xffff_ffff_ffff_ffffn);
  assert.is(metadata.get("t.u64.safe"), 2 ** 53 - 1);
  assert.is(metadata.get("t.u64.edge"), 2n ** 53n);
  assert.is(metadata.get("t.i64"), -(2n ** 63n));
  assert.is(metadata.get("t.i64.small"), -7);
  assert.is(metadata.get("t.i32"), -1);
  assert.is(metadata.get("t.f64"), 1e300);
  assert.ok(Number.isNaN(metadata.get("t.nan")));
  assert.is(metadata.get("t.no"), false);
  assert.is(metadata.get("t.empty"), "");
  assert.is(metadata.get("t.text"), "é🙂".repeat(3000));
  const array = (key: string) => {
    const value = metadata.get(key);
    if (typeof value !== "object") throw new TypeError(`Expected an array, but found ${value}`);
    return value;
  };
  assert.equal(array("t.a.u64").slice(), [0, 0xffff_ffff_ffff_ffffn]);
  assert.equal(array("t.a.bool").slice(), [true, false]);
  assert.equal(array("t.a.text").slice(), ["", "x".repeat(100_000), "é"]);
  assert.equal(array("t.a.none").slice(), []);
  assert.is(array("t.a.u8").slice().length, 9000);
  assert.equal(array("t.a.u8").slice(-2), [8998 % 256, 8999 % 256]);
  assert.equal(array("t.a.u8").slice(5, 7), [5, 6]);
  assert.is(array("tokenizer.ggml.tokens").elementType, "string");
  assert.is(metadata.get("general.architecture"), "llama");
});

file("tensors have names, formats and shapes", async () => {
  using model = await loadModel(tinyModel());
  assert.is(model.tensors.length, 3 + 2 * 9);
  assert.equal(model.tensors[0], {
    name: "token_embd.weight",
    format: "q8_0",
    shape: [64, vocabularySize],
    bytes: vocabularySize * 2 * 34,
  });
  assert.is(model.tensors[1]?.format, "f32");
});
file.run();

const chat = suite("chat templates");

chat("a conversation becomes a prompt", async () => {
  using model = await loadModel(tinyModel());
  const messages = [{ role: "user", content: "hi" }];
  // The first token is left out, because the tokenizer adds it.
  assert.is(model.chatTemplate(messages), "<|user|>hi</s><|bot|>");
  assert.is(model.chatTemplate(messages, { addGenerationPrompt: false }), "<|user|>hi</s>");
  assert.is(model.tokenize(model.chatTemplate(messages)).filter((token) => token === 1).length, 1);
});

chat("what can't be done is said", async () => {
  using plain = await loadModel(
    tinyModel({ metadata: { "tokenizer.chat_template": { type: "bool", value: true } } }),
  );
  assert.throws(() => plain.chatTemplate([]), /chat template/);
  using broken = await loadModel(
    tinyModel({
      metadata: {
        "tokenizer.chat_template": { type: "string", value: "{{ raise_exception('only users') }}" },
      },
    }),
  );
  assert.throws(
    () => broken.chatTemplate([{ role: "user", content: "" }]),
    (error: unknown) =>
      error instanceof EngineError && error.message.includes("only users") &&
      error.cause instanceof Error,
  );
  assert.throws(() => broken.chatTemplate([{ text: "a" } as never]), /role/);
  assert.throws(() => broken.chatTemplate([], { generation: true } as object), /generation/);
});
chat.run();
