/**
 * Saving and restoring sessions: bits after a restore in another process, forks, what is refused and why,
 * and the same file read without the engine.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  EngineError,
  greedy,
  type KvFormat,
  kvFormats,
  type KvPolicy,
  loadModel,
  readSnapshot,
  type Session,
  temperature,
} from "../mod.ts";
import { hex32, xxHash32 } from "../src/internal/xxhash32.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

/** Two layers, two KV heads of 32 values. */
const path = tinyModel({ embedding: 128 });
const load = () => loadModel(path, { threads: 1 });
const prompt = Array.from({ length: 150 }, (_, i) => 3 + (i * 7) % 250);
const mixed: KvPolicy = {
  key: "q8_0",
  value: "f8_e4m3",
  rules: [
    { layers: 1, which: "key", format: "f32" },
    { layers: 0, heads: 1, format: "bf16" },
  ],
};

/** What `body` throws, as `code: message`. */
async function thrown(body: () => unknown): Promise<string> {
  try {
    await body();
  } catch (error) {
    if (error instanceof EngineError) return `${error.code}: ${error.message}`;
    return String(error);
  }
  throw new Error("Expected an error, but found a result");
}

const bits = (values: Float32Array<ArrayBuffer> | undefined) =>
  values && Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length));
const drawn = (session: Session) =>
  session.generate([9, 8], { sampler: [temperature(2)], seed: 5, maxTokens: 20, ignoreEnd: true })
    .text();

/** What a session is and does next. */
async function next(session: Session): Promise<unknown> {
  const { tokens } = session;
  const text = await drawn(session);
  return { tokens: Array.from(tokens), text, logits: bits(session.logits()) };
}

const saves = suite("saved sessions");

saves("go on with the same bits", async () => {
  using model = await load();
  const narrow: KvPolicy = { key: "q5_1", value: "iq4_nl" };
  const fours: KvPolicy = { key: "nvfp4", value: "mxfp4" };
  for (const kv of [{}, mixed, { key: "f8_e5m2", value: "q8_0" }, narrow, fours] as KvPolicy[]) {
    const file = temporaryPath("bits.session");
    using session = model.session({ context: 300, kv, shift: { keep: 3 } });
    await session.prefill(prompt);
    // The last sampled token has no keys and values yet.
    await session.step({ sampler: [greedy()] });
    await session.save(file);
    using other = await model.restore(file);
    assert.is(other.context, 300);
    for (const which of ["key", "value"] as const) {
      for (const layer of [0, 1]) {
        for (const head of [0, 1]) {
          const place = { which, layer, head };
          assert.is(other.kv.format(place), session.kv.format(place));
          assert.equal(bits(other.kv.read(place)), bits(session.kv.read(place)));
        }
      }
    }
    assert.equal(other.kv.ledger(), session.kv.ledger());
    assert.equal(bits(other.logits()), bits(session.logits()));
    assert.equal(await next(other), await next(session));
  }
});

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What a session of the file does next in a process of its own, under a runtime. */
function elsewhere(
  runtime: readonly string[],
  file: string,
  env: Record<string, string> = {},
): Record<string, unknown> {
  const [command = "", ...args] = runtime;
  const script = join(root, "tests", "support", "restored.ts");
  const run = spawnSync(command, [...args, script, path, file], {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assert.is(run.status, 0, run.stderr);
  return JSON.parse(run.stdout);
}

/** The runtimes of this machine: this one, and the other one if it is there. */
function runtimes(): string[][] {
  const inDeno = "Deno" in globalThis;
  const command = (path: string, deno: boolean) =>
    deno ? [path, "run", "--quiet", "--allow-all", "--no-check"] : [path, "run"];
  const name = inDeno ? "bun" : "deno";
  const places = [
    process.env[`VITRINE_${name.toUpperCase()}`] ?? "",
    join(root, "node_modules", ".bin", name),
    ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, name)),
  ];
  const other = places.find((place) => place !== "" && existsSync(place));
  if (other === undefined) {
    process.stdout.write(`skipped the other runtime: found no ${name}\n`);
  }
  return [command(process.execPath, inDeno), ...(other ? [command(other, !inDeno)] : [])];
}

saves("go on in another process, and under the other runtime", async () => {
  using model = await load();
  const file = temporaryPath("elsewhere.session");
  using session = model.session({ context: 300, kv: mixed });
  await session.prefill(prompt);
  await session.save(file);
  const restored = bits(session.logits());
  const expected = { same: true, restored, ...await next(session) as object };
  for (const runtime of runtimes()) assert.equal(elsewhere(runtime, file), expected);
  // Another variant of the kernels reads the same cache; what follows it rounds in its own way.
  if (process.arch !== "x64") {
    return void process.stdout.write("skipped the other CPU variant: found no x86\n");
  }
  const [runtime = []] = runtimes();
  const other = elsewhere(runtime, file, { VITRINE_CPU: "x86_64" });
  assert.equal([other["same"], other["restored"]], [true, restored]);
});

saves("put a session back to where it was", async () => {
  using model = await load();
  const file = temporaryPath("back.session");
  using session = model.session({ context: 300 });
  await session.prefill(prompt);
  await session.save(file);
  const first = await next(session);
  const progress: string[] = [];
  await session.restore(file, {
    onProgress: ({ phase, done, total }) => progress.push(`${phase} ${done === total}`),
  });
  assert.is(progress.at(-1), "restore true");
  assert.is(session.position, prompt.length);
  // Hooks stay.
  let seen = 0;
  using _hooks = session.hooks({ "blocks.0.q": () => void seen++ });
  assert.equal(await next(session), first);
  assert.ok(seen > 0);
  // A session of another shape is refused, and stays.
  using narrow = model.session({ context: 300, kv: { key: "q8_0" } });
  await narrow.prefill([5, 6, 7]);
  const before = narrow.logits();
  assert.match(
    await thrown(() => narrow.restore(file)),
    /^foreign: .*keys of layer 0, KV head 0, are q8_0, found f16$/,
  );
  using short = model.session({ context: 100 });
  assert.match(await thrown(() => short.restore(file)), /^context-full: .*150 tokens/);
  assert.equal(narrow.logits(), before);
  assert.is(narrow.position, 3);
  // A larger context is asked for when a session is made.
  using larger = await model.restore(file, { context: 500 });
  assert.is(larger.context, 500);
  assert.equal(await next(larger), first);
});

saves("keep what forks share", async () => {
  using model = await load();
  const file = temporaryPath("forks.session");
  using session = model.session({ context: 300 });
  await session.prefill(prompt);
  using forks = session.fork(3);
  await forks[0]!.prefill([5, 6, 7]);
  forks[1]!.truncate(100);
  await session.save(file, { with: forks });
  const all = [session, ...forks];
  using restored = await model.restoreAll(file);
  assert.is(restored.length, 4);
  for (const [i, other] of restored.entries()) {
    assert.equal(other.tokens, all[i]!.tokens);
    assert.equal(other.kv.pages, all[i]!.kv.pages);
    assert.equal(other.kv.ledger(), all[i]!.kv.ledger());
  }
  using snapshot = readSnapshot(file);
  // Three pages of the prompt, and one that the first fork has of its own.
  assert.equal(snapshot.pages, [64, 64, 22, 25]);
  assert.equal(snapshot.sequences.map(({ pages }) => pages), [[0, 1, 2], [0, 1, 3], [0, 1], [
    0,
    1,
    2,
  ]]);
  assert.equal(snapshot.sequences.map(({ hasLogits }) => hasLogits), [true, true, false, true]);
  for (const [i, other] of all.entries()) {
    assert.equal(snapshot.tokens(i), other.tokens);
    if (i !== 2) assert.equal(bits(snapshot.logits(i)), bits(other.logits()));
    const part = { which: "value", layer: 1 } as const;
    assert.equal(bits(snapshot.read({ ...part, sequence: i })), bits(other.kv.read(part)));
  }
  assert.is(snapshot.logits(2), undefined);
  for (const [i, other] of restored.entries()) {
    if (i !== 2) assert.equal(await next(other), await next(all[i]!));
  }
  assert.match(await thrown(() => model.restore(file)), /one session, but found 4; restoreAll/);
  await session.restore(file, { sequence: 1 });
  assert.is(session.position, 153);
  assert.match(
    await thrown(() => session.restore(file, { sequence: 4 })),
    /RangeError.*from 0 to 3/,
  );
  assert.is(session.position, 153);
  using alien = model.session({ context: 300, kv: { value: "f32" } });
  assert.match(
    await thrown(() => session.save(file, { with: [alien] })),
    /^foreign: .*one cache policy.*f16 and in f32/,
  );
});

saves("are read without the engine, in every format", async () => {
  using model = await load();
  const file = temporaryPath("formats.session");
  const all = kvFormats.length;
  for (const [i, key] of kvFormats.entries()) {
    const value = kvFormats[(i + 1) % all] as KvFormat;
    using session = model.session({ context: 128, kv: { key, value } });
    await session.prefill(prompt.slice(0, 70));
    await session.save(file);
    using snapshot = readSnapshot(file);
    snapshot.verify();
    assert.equal(snapshot.policy, { key, value });
    for (const which of ["key", "value"] as const) {
      for (const part of [{ head: 1, from: 3, to: 69 }, { from: 64 }, { to: 0 }, {}]) {
        const place = { which, layer: 1, ...part };
        const found = snapshot.read(place);
        assert.equal(bits(found), bits(session.kv.read(place)), `${which} ${key} ${value}`);
        const raw = snapshot.read({ ...place, view: "raw" });
        // Whatever a cache holds beside codes is in the file too.
        for (const [name, values] of Object.entries(session.kv.read({ ...place, view: "raw" }))) {
          assert.equal(raw[name as keyof typeof raw], values, `${which} ${key} ${value} ${name}`);
        }
        const stored = snapshot.read({ ...place, view: "bytes" });
        const bytesPerValue = found.length === 0 ? 0 : stored.length / found.length;
        const { keyBits, valueBits } = session.kv.ledger();
        if (found.length > 0) assert.is(8 * bytesPerValue, which === "key" ? keyBits : valueBits);
      }
    }
  }
});

saves("that are damaged are refused with the reason, and nothing changes", async () => {
  using model = await load();
  const file = temporaryPath("damaged.session");
  using session = model.session({ context: 300 });
  await session.prefill(prompt);
  await session.save(file);
  const good = readFileSync(file);
  const state = bits(session.logits());
  const headerBytes = good.readUInt32LE(12);
  const cases: [string, Uint8Array, RegExp][] = [
    ["preamble", changed(good, 17), /a file of \d+ bytes, (but )?found \d+/],
    ["version", changed(good, 8), /version 1 of saved sessions, (but )?found 0/],
    [
      "header",
      changed(good, 200),
      /a header that agrees with its checksum, (but )?found a damaged/,
    ],
    [
      "tokens",
      changed(good, 32 + headerBytes),
      /tokens of sequence 0 with the checksum|tokens under/,
    ],
    ["the end", changed(good, good.length - 1), /values of layer 1, KV head 1,? with the checksum/],
    ["half", good.subarray(0, good.length >> 1), /a file of \d+ bytes, (but )?found \d+/],
    ["nothing", new Uint8Array(0), /a saved session, (but )?found another kind of file/],
    ["a model", readFileSync(path), /a saved session, (but )?found another kind of file/],
  ];
  for (const [what, bytes, reason] of cases) {
    const broken = temporaryPath("broken.session");
    writeFileSync(broken, bytes);
    const code = what === "version" ? "unsupported" : "invalid-file";
    for (
      const read of [
        () => session.restore(broken),
        () => model.restore(broken),
        () => {
          using snapshot = readSnapshot(broken);
          snapshot.verify();
        },
      ]
    ) {
      const message = await thrown(read);
      assert.match(message, reason, what);
      assert.ok(message.startsWith(`${code}: ${broken}: `), message);
    }
  }
  assert.equal(bits(session.logits()), state);
  assert.is(session.position, prompt.length);
  for (
    const read of [() => model.restore("no-such.session"), () => readSnapshot("no-such.session")]
  ) {
    assert.match(await thrown(read), /^file-not-found: no-such.session: .*saved session.*no file/);
  }
  for (const read of [() => model.restore(dirname(file)), () => readSnapshot(dirname(file))]) {
    assert.match(await thrown(read), /^input-output: .*no file/);
  }
  await session.restore(file);
});

function changed(bytes: Uint8Array, at: number): Uint8Array {
  const result = Uint8Array.from(bytes);
  result[at]! ^= 1;
  return result;
}

saves("of another model or precision are refused", async () => {
  using model = await load();
  const file = temporaryPath("foreign.session");
  using session = model.session({ context: 128 });
  await session.prefill(prompt.slice(0, 20));
  await session.save(file);
  using other = await loadModel(tinyModel({ embedding: 128, layers: 1 }), { threads: 1 });
  assert.match(await thrown(() => other.restore(file)), /^foreign: .*this model .*one of another/);
  using float = await loadModel(path, { threads: 1, precision: "float" });
  assert.match(await thrown(() => float.restore(file)), /^foreign: .*precision float.*found int8/);
  using alien = other.session({ context: 128 });
  assert.match(await thrown(() => session.save(file, { with: [alien] })), /^foreign: .*one model/);
  // A copy of the model is the same model.
  const copy = temporaryPath("copy.gguf");
  writeFileSync(copy, readFileSync(path));
  using same = await loadModel(copy, { threads: 1 });
  using restored = await same.restore(file);
  assert.equal(await next(restored), await next(session));
});

saves("misuse has a named error", async () => {
  using model = await load();
  const file = temporaryPath("misuse.session");
  using session = model.session({ context: 3000 });
  const running = session.generate("a", { maxTokens: 2000, ignoreEnd: true });
  const steps = running[Symbol.asyncIterator]();
  await steps.next();
  assert.match(await thrown(() => session.save(file)), /^busy: /);
  assert.match(await thrown(() => session.restore(file)), /^busy: /);
  await steps.return?.();
  assert.not(existsSync(file));
  await session.save(file);
  const wrong: [() => unknown, RegExp][] = [
    [() => session.save(""), /TypeError.*the path of a file/],
    [() => session.save(5 as never), /TypeError.*found 5/],
    [() => session.save(file, { also: [] } as never), /TypeError.*an option of save/],
    [() => session.save(file, { with: [5] as never }), /TypeError.*an array of sessions/],
    [() => session.restore(file, { context: 5 } as never), /TypeError.*an option of restore/],
    [() => model.restore(file, { context: 0 }), /RangeError.*context/],
    [() => readSnapshot(7 as never), /TypeError.*found 7/],
    [() => session.save(join(file, "below")), /^input-output: .*no such folder/],
    [() => session.save(path), /^input-output: .*a saved session to replace/],
    [() => session.save(file, { signal: AbortSignal.abort() }), /AbortError/],
    [() => model.restore(file, { signal: AbortSignal.abort() }), /AbortError/],
  ];
  for (const [body, reason] of wrong) assert.match(await thrown(body), reason);
  assert.ok(readFileSync(path).subarray(0, 4).toString() === "GGUF");
  const snapshot = readSnapshot(file);
  assert.match(await thrown(() => snapshot.read({ which: "key", layer: 2 })), /RangeError.*layer/);
  assert.match(await thrown(() => snapshot.tokens(1)), /RangeError.*sequence/);
  snapshot.dispose();
  snapshot.dispose();
  assert.match(await thrown(() => snapshot.tokens()), /^disposed: /);
  const gone = model.session({ context: 64 });
  gone.dispose();
  assert.match(await thrown(() => gone.save(file)), /^disposed: /);
  assert.match(await thrown(() => gone.restore(file)), /^disposed: /);
  assert.match(await thrown(() => session.save(file, { with: [gone] })), /^disposed: /);
  const folder = temporaryPath("a-folder");
  mkdirSync(folder);
  assert.match(await thrown(() => session.save(folder)), /^input-output: .*to replace, or nothing/);
});

saves("may be written while sessions go on", async () => {
  using model = await load();
  const file = temporaryPath("meanwhile.session");
  using session = model.session({ context: 400 });
  await session.prefill(prompt);
  using twin = session.fork();
  const saving = session.save(file);
  session.truncate(100);
  await Promise.all([saving, session.prefill(prompt)]);
  using restored = await model.restore(file);
  assert.equal(await next(restored), await next(twin));
});

saves("the checksum is the published one", () => {
  const of = (text: string) => hex32(xxHash32(new TextEncoder().encode(text)));
  assert.is(of(""), "02cc5d05");
  assert.is(of("a"), "550d7456");
  assert.is(of("abc"), "32d153ff");
  assert.is(of("Nobody inspects the spammish repetition"), "e2293b2f");
});

saves.run();
