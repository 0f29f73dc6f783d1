/**
 * The rules of the C ABI, tried from outside with the raw functions: what a host does wrong is a
 * status with a text, never a crash. The same file runs under both runtimes.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError, loadModel } from "../mod.ts";
import { type Library, openAt, openLibrary } from "../src/ffi/library.ts";
import {
  abiHash,
  functions,
  LoadOptionsLayout,
  ModelInfoLayout,
  ModelPhase,
  ModelStateLayout,
  RequestLayout,
  SessionInfoLayout,
  SessionOptionsLayout,
  StageLayout,
  Status,
  TakeResultLayout,
  WakeStatsLayout,
} from "../src/ffi/symbols.gen.ts";
import { tinyModel, vocabularySize } from "./support/tiny_model.ts";

const path = tinyModel();
const library = await openLibrary();
const { calls } = library;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The text of the last error of a handle. */
function errorText(handle: number): string {
  const buffer = new Uint8Array(1024);
  const length = new Uint32Array(1);
  assert.is(calls.vitrine_error_text(handle, buffer, buffer.length, length), Status.ok);
  return decoder.decode(buffer.subarray(0, length[0]));
}

/** Loads with the raw functions. */
function load(file = path): number {
  const bytes = encoder.encode(file);
  const out = new Uint32Array(1);
  assert.is(calls.vitrine_model_load(bytes, bytes.length, null, 0, out), Status.ok);
  assert.is(calls.vitrine_model_wait(out[0] ?? 0), Status.ok);
  return out[0] ?? 0;
}

function session(model: number): number {
  const out = new Uint32Array(1);
  assert.is(calls.vitrine_session_create(model, null, 0, null, 0, out), Status.ok);
  return out[0] ?? 0;
}

/** A request of so many tokens, as bytes. */
function request(
  maxTokens: number,
  change: (view: DataView) => void = () => {},
): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(RequestLayout.bytes));
  view.setUint32(RequestLayout.size, RequestLayout.bytes, true);
  view.setUint32(RequestLayout.version, 1, true);
  view.setUint32(RequestLayout.max_tokens, maxTokens, true);
  change(view);
  return new Uint8Array(view.buffer);
}

/** Every function but those that take only what they are given: with a handle as first argument. */
const onModel = Object.keys(functions).filter((name) => /^vitrine_model_(?!load)/.test(name));
const onSession = Object.keys(functions).filter((name) =>
  /^vitrine_(session_(?!create)|kv_|hooks_)/.test(name)
);

/** Calls a function with a handle, and big, empty or null buffers. */
function callWith(
  name: string,
  handle: number,
  number: number,
  buffer: Uint8Array<ArrayBuffer> | null,
): number {
  const kinds = functions[name as keyof typeof functions] as readonly string[];
  const values = kinds.map((kind, i) => i === 0 ? handle : kind === "buffer" ? buffer : number);
  return (calls as unknown as Record<string, (...values: unknown[]) => number>)[name]?.(
    ...values,
  ) ?? NaN;
}

const handles = suite("handles");

handles("stale and invented ones are refused by every function", () => {
  const model = load();
  const child = session(model);
  assert.is(calls.vitrine_session_destroy(child), Status.ok);
  assert.is(calls.vitrine_model_destroy(model), Status.ok);
  const invented = [0, 1, 0xffff_ffff, 0xfff, 0x1000, model ^ 0x1000, child + 0x1000];
  for (const [names, stale] of [[onModel, model], [onSession, child]] as const) {
    for (const name of names) {
      for (const handle of [stale, ...invented]) {
        const status = callWith(name, handle, 64, new Uint8Array(64));
        const expected = name.endsWith("_destroy") ? Status.ok : Status.invalid_handle;
        assert.is(status, expected, `${name}(${handle})`);
      }
    }
  }
});

handles("one of the other kind is refused", () => {
  const model = load();
  const child = session(model);
  for (const name of onModel) {
    if (name.endsWith("_destroy")) continue;
    assert.is(callWith(name, child, 64, new Uint8Array(64)), Status.invalid_handle, name);
  }
  for (const name of onSession) {
    if (name.endsWith("_destroy")) continue;
    assert.is(callWith(name, model, 64, new Uint8Array(64)), Status.invalid_handle, name);
  }
  // Destroying the wrong kind is harmless: both still work.
  calls.vitrine_model_destroy(child);
  calls.vitrine_session_destroy(model);
  assert.is(calls.vitrine_session_truncate(child, 0), Status.ok);
  calls.vitrine_model_destroy(model);
  calls.vitrine_session_destroy(child);
});

handles("models and sessions go in any order, twice too", () => {
  for (const order of ["mss", "sms", "ssm", "msms", "smsm", "mmss"]) {
    const model = load();
    const children = [session(model), session(model)];
    const tokens = Uint32Array.of(5, 6, 7);
    for (const child of children) {
      assert.is(
        calls.vitrine_session_start(child, request(50), RequestLayout.bytes, tokens, 3, null),
        Status.ok,
      );
    }
    let next = 0;
    for (const letter of order) {
      if (letter === "m") assert.is(calls.vitrine_model_destroy(model), Status.ok);
      else assert.is(calls.vitrine_session_destroy(children[next++ % 2] ?? 0), Status.ok);
    }
    for (const child of children) assert.is(calls.vitrine_session_destroy(child), Status.ok);
    assert.is(calls.vitrine_model_destroy(model), Status.ok);
  }
});

handles("a model that is destroyed while it loads goes by itself", () => {
  const bytes = encoder.encode(path);
  const out = new Uint32Array(1);
  for (let i = 0; i < 100; i++) {
    assert.is(calls.vitrine_model_load(bytes, bytes.length, null, 0, out), Status.ok);
    assert.is(calls.vitrine_model_destroy(out[0] ?? 0), Status.ok);
  }
});

handles("a failed creation gives a handle with the text, and nothing else", () => {
  const bytes = encoder.encode("/no/such/file.gguf");
  const out = new Uint32Array(1);
  assert.is(calls.vitrine_model_load(bytes, bytes.length, null, 0, out), Status.ok);
  const handle = out[0] ?? 0;
  assert.is(calls.vitrine_model_wait(handle), Status.file_not_found);
  assert.match(errorText(handle), /no\/such\/file/);
  const state = new DataView(new ArrayBuffer(ModelStateLayout.bytes));
  calls.vitrine_model_state(handle, new Uint8Array(state.buffer), state.byteLength);
  assert.is(state.getUint32(ModelStateLayout.phase, true), ModelPhase.failed);
  assert.is(state.getInt32(ModelStateLayout.status, true), Status.file_not_found);
  assert.is(callWith("vitrine_model_info", handle, 64, new Uint8Array(64)), Status.not_ready);
  const child = new Uint32Array(1);
  assert.is(calls.vitrine_session_create(handle, null, 0, null, 0, child), Status.not_ready);
  assert.match(errorText(child[0] ?? 0), /loaded model/);
  assert.is(calls.vitrine_session_truncate(child[0] ?? 0, 0), Status.not_ready);
  calls.vitrine_session_destroy(child[0] ?? 0);
  calls.vitrine_model_destroy(handle);
});

handles("more than fit are refused, and all come back", () => {
  const model = load();
  const made: number[] = [];
  const out = new Uint32Array(1);
  const options = new Uint32Array(SessionOptionsLayout.bytes / 4);
  options.set([SessionOptionsLayout.bytes, 1, 64, 1, 1, 0, 0xffff_ffff]);
  // Creations that fail take a handle and no cache: with format 99 they fail.
  options[3] = 99;
  let status: number;
  for (;;) {
    status = calls.vitrine_session_create(model, options, options.byteLength, null, 0, out);
    if (status === Status.too_many_handles || made.length > 10_000) break;
    assert.is(status, Status.invalid_argument);
    made.push(out[0] ?? 0);
  }
  assert.is(status, Status.too_many_handles);
  assert.is(out[0], 0);
  assert.is(new Set(made).size, made.length);
  for (const handle of made) calls.vitrine_session_destroy(handle);
  calls.vitrine_session_destroy(session(model));
  calls.vitrine_model_destroy(model);
});
handles.run();

const buffers = suite("buffers and numbers");

buffers("null, empty and short ones are answered, never written past", () => {
  const model = load();
  const child = session(model);
  for (const names of [onModel, onSession]) {
    const handle = names === onModel ? model : child;
    for (const name of names) {
      if (/_destroy|_wait|_cancel|_start/.test(name)) continue;
      for (const number of [0, 1, 3, 7]) {
        const guarded = new Uint8Array(4096).fill(0xa5);
        for (const buffer of [null, new Uint8Array(0), guarded]) {
          if (buffer !== guarded && number !== 0) continue;
          const status = callWith(name, handle, number, buffer);
          assert.ok(Number.isInteger(status) && status <= 0, `${name} ${status}`);
        }
        // Lengths lie below 8, and what is written is a length of 4, a range of 8 or a result.
        assert.ok(guarded.subarray(64).every((byte) => byte === 0xa5), name);
      }
    }
  }
  calls.vitrine_session_destroy(child);
  calls.vitrine_model_destroy(model);
});

buffers("a length that is needed is told, and then suffices", () => {
  const model = load();
  const length = new Uint32Array(1);
  for (
    const name of ["vitrine_model_metadata", "vitrine_model_tensor", "vitrine_model_token"] as const
  ) {
    assert.is(calls[name](model, 0, new Uint8Array(1), 1, length), Status.buffer_too_small);
    const needed = length[0] ?? 0;
    assert.ok(needed > 8);
    assert.is(
      calls[name](model, 0, new Uint8Array(needed - 1), needed - 1, length),
      Status.buffer_too_small,
    );
    assert.is(calls[name](model, 0, new Uint8Array(needed), needed, length), Status.ok);
    assert.is(
      calls[name](model, 0xffff_ffff, new Uint8Array(9), 9, length),
      Status.invalid_argument,
    );
    assert.match(errorText(model), /found 4294967295/);
  }
  calls.vitrine_model_destroy(model);
});

buffers("any alignment of a buffer works", () => {
  const model = load();
  const child = session(model);
  const memory = new Uint8Array(vocabularySize * 4 + 64);
  for (let offset = 0; offset < 8; offset++) {
    const packed = new Uint8Array(memory.buffer, offset, RequestLayout.bytes);
    packed.set(request(0));
    const tokens = new Uint8Array(new ArrayBuffer(20), offset, 8);
    tokens.set([5, 0, 0, 0, 6, 0, 0, 0]);
    assert.is(
      calls.vitrine_session_start(child, packed, packed.length, tokens, 2, null),
      Status.ok,
    );
    calls.vitrine_session_wait(child);
    const logits = new Uint8Array(memory.buffer, offset + 8, vocabularySize * 4);
    assert.is(calls.vitrine_session_logits(child, 0xffff_ffff, logits, vocabularySize), Status.ok);
    assert.ok(Number.isFinite(new DataView(memory.buffer).getFloat32(offset + 8, true)));
  }
  calls.vitrine_session_destroy(child);
  calls.vitrine_model_destroy(model);
});

buffers("option structs: short ones are filled up, long ones cut, wrong ones refused", () => {
  const bytes = encoder.encode(path);
  const out = new Uint32Array(1);
  const attempt = (words: number[], length = words.length * 4) => {
    const status = calls.vitrine_model_load(
      bytes,
      bytes.length,
      Uint32Array.from(words),
      length,
      out,
    );
    const handle = out[0] ?? 0;
    const text = errorText(handle);
    if (status === Status.ok) calls.vitrine_model_wait(handle);
    calls.vitrine_model_destroy(handle);
    return [status, text];
  };
  assert.equal(attempt([8, 1])[0], Status.ok);
  assert.equal(attempt([12, 1, 1])[0], Status.ok);
  assert.equal(attempt([LoadOptionsLayout.bytes + 8, 1, 1, 1, 0, 0, 0xdead, 0xbeef])[0], Status.ok);
  const wrong: [number[], RegExp][] = [
    [[0, 1], /size/],
    [[7, 1], /size/],
    [[64, 1], /size/],
    [[0xffff_ffff, 1], /size/],
    [[8, 0], /version 1/],
    [[8, 2], /version 1, found 2/],
    [[20, 1, 1, 2, 0], /precision/],
    [[20, 1, 1, 1, 0x80], /flags/],
    [[24, 1, 1, 1, 0, 1], /path of 1 bytes behind the load options, found 0/],
    [[24, 1, 1, 1, 0, 5, 0x41414141], /path of 5 bytes .* found 4/],
    [[24, 1, 1, 1, 0, 4, 0x41004141], /zero bytes/],
    [[24, 1, 1, 1, 0, 0xffff_ffff, 0x41414141], /path of 4294967295 bytes/],
    [[20, 1, 0xffff_ffff, 1, 0], /threads/],
  ];
  for (const [words, message] of wrong) {
    const [status, text] = attempt(words);
    // How many threads there can be is the engine's to say, when it loads.
    if (words[2] !== 0xffff_ffff) assert.is(status, Status.invalid_argument, `${words}`);
    if (words[2] !== 0xffff_ffff) assert.match(String(text), message);
  }
  assert.is(attempt([8], 4)[0], Status.invalid_argument);
});

buffers("requests: NaN, unknown stages, wrong tokens and flags have texts", () => {
  const model = load();
  const child = session(model);
  const tokens = Uint32Array.of(5, 6);
  const stage = (id: number, value: number) => {
    const view = new DataView(new ArrayBuffer(StageLayout.bytes));
    view.setUint32(StageLayout.id, id, true);
    view.setFloat32(StageLayout.parameters, value, true);
    return new Uint8Array(view.buffer);
  };
  const withData = (id: number, length: number) => {
    const record = stage(id, 1);
    new DataView(record.buffer).setUint32(StageLayout.data_length, length, true);
    return record;
  };
  const withStage = request(1, (view) => view.setUint32(RequestLayout.stage_count, 1, true));
  const start = (
    packed: Uint8Array<ArrayBuffer>,
    ids: Uint32Array<ArrayBuffer>,
    stages: Uint8Array<ArrayBuffer> | null,
  ) => calls.vitrine_session_start(child, packed, packed.length, ids, ids.length, stages);
  const count = (field: number, value: number) =>
    request(1, (view) => view.setUint32(field, value, true));
  const at = RequestLayout;
  const refused: [() => number, RegExp][] = [
    [() => start(withStage, tokens, stage(4, NaN)), /top_p.*nan/i],
    [() => start(withStage, tokens, stage(2, -Infinity)), /temperature.*inf/i],
    [() => start(withStage, tokens, stage(999, 1)), /999/],
    [() => start(withStage, tokens, null), /null/],
    [() => start(withStage, tokens, withData(4, 1)), /stage 1 \(top_p\).*1 bytes .*found 0/],
    [() => start(withStage, tokens, withData(4, 0xffff_ffff)), /4294967295 bytes .*found 0/],
    [() => start(count(at.stage_count, 0x0100_0000), tokens, stage(4, 1)), /records/],
    [() => start(count(at.history_count, 1), tokens, null), /without history/],
    [() => start(count(at.model, 1), tokens, null), /without history and model/],
    [() => start(count(at.flags, 1 << 20), tokens, null), /flags/],
    [() => start(count(at.stage_count, 2 ** 31), tokens, null), /stages/],
    [() => start(count(at.top_logprobs, 2 ** 30), tokens, null), /top_logprobs/],
    [() => start(request(1), Uint32Array.of(vocabularySize), null), /found 296/],
    [() => start(request(1), new Uint32Array(0), null), /token/],
    [
      () => calls.vitrine_session_start(child, request(1), RequestLayout.bytes, null, 4, null),
      /null/,
    ],
    [
      () =>
        calls.vitrine_session_start(
          child,
          request(1),
          RequestLayout.bytes,
          tokens,
          0xffff_ffff,
          null,
        ),
      /bytes/,
    ],
  ];
  for (const [call, message] of refused) {
    assert.is(call(), Status.invalid_argument, String(message));
    assert.match(errorText(child), message);
  }
  // Nothing of that has harmed the session.
  assert.is(start(request(3), tokens, null), Status.ok);
  calls.vitrine_session_wait(child);
  calls.vitrine_session_destroy(child);
  calls.vitrine_model_destroy(model);
});

buffers("64-bit seeds arrive whole", () => {
  const model = load();
  const text = (low: number, high: number) => {
    const child = session(model);
    const packed = request(24, (view) => {
      view.setUint32(RequestLayout.flags, 4, true);
      view.setUint32(RequestLayout.seed_low, low, true);
      view.setUint32(RequestLayout.seed_high, high, true);
    });
    assert.is(
      calls.vitrine_session_start(child, packed, packed.length, Uint32Array.of(5), 1, null),
      Status.ok,
    );
    calls.vitrine_session_wait(child);
    const count = Uint32Array.of(64);
    const tokens = new Uint32Array(64);
    calls.vitrine_session_tokens(child, tokens, count);
    calls.vitrine_session_destroy(child);
    assert.is(count[0], 25);
    return tokens.join();
  };
  const edges: [number, number][] = [[0, 0], [0, 1], [1, 0], [0xffff_ffff, 0xffff_ffff], [
    0,
    0x8000_0000,
  ], [0x8000_0000, 0]];
  const texts = edges.map(([low, high]) => text(low, high));
  assert.is(new Set(texts).size, edges.length);
  assert.equal(edges.map(([low, high]) => text(low, high)), texts);
  calls.vitrine_model_destroy(model);
});

buffers("results that are shorter than today's are filled as far as they reach", () => {
  const model = load();
  const whole = new Uint8Array(ModelInfoLayout.bytes + 16).fill(0x5a);
  assert.is(calls.vitrine_model_info(model, whole, whole.length), Status.ok);
  assert.ok(whole.subarray(ModelInfoLayout.bytes).every((byte) => byte === 0x5a));
  const part = new Uint8Array(ModelInfoLayout.bytes).fill(0x5a);
  assert.is(calls.vitrine_model_info(model, part, 6), Status.ok);
  assert.equal(part.subarray(0, 6), whole.subarray(0, 6));
  assert.ok(part.subarray(6).every((byte) => byte === 0x5a));
  calls.vitrine_model_destroy(model);
});
buffers.run();

const stress = suite("under load");

stress("a million calls", () => {
  const model = load();
  const child = session(model);
  const info = new Uint8Array(SessionInfoLayout.bytes);
  for (let i = 0; i < 1_000_000; i++) {
    if (calls.vitrine_session_info(child, info, info.length) !== 0) assert.unreachable();
  }
  assert.is(new DataView(info.buffer).getUint32(SessionInfoLayout.context, true), 512);
  calls.vitrine_session_destroy(child);
  calls.vitrine_model_destroy(model);
});

stress("buffers are collected all the time while requests run", async () => {
  using model = await loadModel(path, { threads: 1 });
  using reference = model.session();
  const options = { seed: 1, maxTokens: 60, ignoreEnd: true };
  const expected = await reference.generate("the", options).text();
  const collect = globalThis as { gc?: () => void; Bun?: { gc(force: boolean): void } };
  for (let i = 0; i < 10; i++) {
    using session = model.session();
    let text = "";
    for await (const step of session.generate("the", options)) {
      text += step.text;
      for (let k = 0; k < 20; k++) new Uint8Array(10_000).fill(k);
      collect.Bun?.gc(true);
    }
    assert.ok(expected.startsWith(text));
  }
});

stress("sessions that nobody disposes of don't stop anything", async () => {
  using model = await loadModel(path, { threads: 1 });
  for (let i = 0; i < 60; i++) {
    await model.session({ context: 64 }).generate("the", { maxTokens: 2 }).text();
  }
});

stress("aborted a hundred times at any moment", async () => {
  using model = await loadModel(path, { threads: 1 });
  using session = model.session();
  for (let i = 0; i < 100; i++) {
    const controller = new AbortController();
    const run = session.generate("the head is in", {
      signal: controller.signal,
      ignoreEnd: true,
      maxTokens: 300,
    });
    const timer = setTimeout(() => controller.abort(), i % 7);
    try {
      for await (const step of run) if (step.position > 200 + i) break;
    } catch (error) {
      assert.is((error as Error).name, "AbortError");
    }
    clearTimeout(timer);
    session.truncate(0);
  }
  assert.is((await session.generate("the", { maxTokens: 1 }).next()).done, false);
});

stress("a hundred starts and stops of a model with a generation", async () => {
  for (let i = 0; i < 100; i++) {
    using model = await loadModel(path, { threads: 1 + i % 2 });
    using session = model.session({ context: 64 });
    for await (const step of session.generate("the", { maxTokens: 3, ignoreEnd: true })) {
      if (i % 3 === 0 && step.position > 2) break;
    }
  }
});

stress("two loads of one library have one table of handles", async () => {
  const runtime = "Deno" in globalThis
    ? (await import("../src/ffi/deno.ts")).deno
    : await (await import("../src/ffi/bun.ts")).bun();
  const second: Library = openAt(runtime, library.path);
  const model = load();
  const info = new Uint8Array(ModelInfoLayout.bytes);
  assert.is(second.calls.vitrine_model_info(model, info, info.length), Status.ok);
  second.calls.vitrine_model_destroy(model);
  assert.is(calls.vitrine_model_info(model, info, info.length), Status.invalid_handle);
});

stress("two workers and the main thread generate the same at once", async () => {
  const inWorker = () =>
    new Promise<string>((resolve, reject) => {
      const worker = new Worker(new URL("./support/worker.ts", import.meta.url), {
        type: "module",
      });
      worker.onmessage = (event: MessageEvent<string>) => {
        worker.terminate();
        resolve(event.data);
      };
      worker.onerror = (event: ErrorEvent) => reject(new Error(event.message));
      worker.postMessage(path);
    });
  const here = async () => {
    using model = await loadModel(path, { threads: 1 });
    using session = model.session({ context: 128 });
    const sampler = [{ name: "greedy", params: {} }];
    return await session.generate("the", { sampler, maxTokens: 12, ignoreEnd: true }).text();
  };
  // A worker is terminated as soon as it has answered, while the others still generate.
  for (let i = 0; i < 5; i++) {
    const texts = await Promise.all([inWorker(), here(), inWorker()]);
    assert.is(texts[0], texts[1]);
    assert.is(texts[2], texts[1]);
  }
});
stress.run();

const interfaces = suite("the interface");

interfaces("the library's fingerprint is the module's, and another one is refused", () => {
  const hash = new Uint32Array(2);
  assert.is(calls.vitrine_abi_hash(hash), Status.ok);
  assert.equal([...hash], [...abiHash]);
  const other = {
    open: () => ({
      calls: { ...calls, vitrine_abi_hash: (out: Uint32Array) => (out.fill(7), 0) },
      wakeCallback: library.wakeCallback,
      joinWake: library.joinWake,
      inWorker: false,
    }),
  };
  assert.throws(
    () => openAt(other as never, "/somewhere/libvitrine.so"),
    (error: unknown) =>
      error instanceof EngineError && error.code === "library-mismatch" &&
      error.message.includes("0000000700000007") && error.message.includes("zig build"),
  );
});

interfaces("a library that isn't one is refused with its path", () => {
  const broken = {
    open: () => {
      throw new Error("invalid ELF header");
    },
  };
  assert.throws(
    () => openAt(broken, "/somewhere/libvitrine.so"),
    (error: unknown) =>
      error instanceof EngineError && error.code === "library-not-found" &&
      error.message.includes("/somewhere/libvitrine.so") && error.cause instanceof Error,
  );
});

interfaces("layouts hold what they must", () => {
  assert.is(RequestLayout.bytes, 84);
  assert.is(StageLayout.bytes, 32);
  for (const layout of [ModelInfoLayout, TakeResultLayout, WakeStatsLayout, SessionOptionsLayout]) {
    for (const [field, offset] of Object.entries(layout)) {
      if (field !== "bytes") assert.ok(offset % 4 === 0 && offset < layout.bytes, field);
    }
  }
  for (const [name, kinds] of Object.entries(functions)) {
    assert.ok(kinds.length <= 6, name);
    assert.match(name, /^vitrine_[a-z_]+$/);
  }
});
interfaces.run();
