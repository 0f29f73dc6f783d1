/**
 * The functions of the C ABI that save and restore sessions, tried from outside: wrong handles, wrong
 * buffers, and every order of giving back.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openLibrary } from "../src/ffi/library.ts";
import { functions, Status } from "../src/ffi/symbols.gen.ts";
import { temporaryPath, tinyModel } from "./support/tiny_model.ts";

const { calls } = await openLibrary();
const encoder = new TextEncoder();
const onSnapshot = Object.keys(functions).filter((name) =>
  /^vitrine_snapshot_(?!save|restore)/.test(name)
);

/** The text of the last error of a handle. */
function errorText(handle: number): string {
  const buffer = new Uint8Array(1024);
  const length = new Uint32Array(1);
  assert.is(calls.vitrine_error_text(handle, buffer, buffer.length, length), Status.ok);
  return new TextDecoder().decode(buffer.subarray(0, length[0]));
}

/** A loaded model. */
function load(): number {
  const bytes = encoder.encode(tinyModel());
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

/** Calls a function with a handle, and the same number and buffer for all that follows. */
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

const handles = suite("snapshots of the C ABI");

handles("they are given back in any order, and refuse what isn't theirs", () => {
  const model = load();
  const child = session(model);
  const file = encoder.encode(temporaryPath("conformance.session"));
  const [out, both] = [new Uint32Array(1), Uint32Array.of(child, child)];
  const { vitrine_snapshot_save: save, vitrine_snapshot_restore: restore } = calls;
  assert.is(save(both, 2, file, file.length, out), Status.ok);
  const saved = out[0] ?? 0;
  assert.is(calls.vitrine_snapshot_wait(saved), Status.ok);
  assert.is(calls.vitrine_snapshot_sessions(saved, both, 2), Status.not_ready);
  for (const handle of [0, 0xffff_ffff, model, child]) {
    for (const name of onSnapshot) {
      const expected = name.endsWith("_destroy") ? Status.ok : Status.invalid_handle;
      assert.is(callWith(name, handle, 64, new Uint8Array(64)), expected, name);
    }
  }
  assert.is(restore(model, file, file.length, 0, out), Status.ok);
  const restored = out[0] ?? 0;
  assert.is(calls.vitrine_snapshot_wait(restored), Status.ok);
  const guarded = new Uint8Array(4096).fill(0xa5);
  for (const name of onSnapshot) {
    if (/_destroy|_wait|_cancel/.test(name)) continue;
    for (const [number, buffer] of [[0, null], [0, guarded], [3, guarded], [7, guarded]] as const) {
      const status = callWith(name, restored, number, buffer);
      assert.ok(Number.isInteger(status) && status <= 0, `${name} ${status}`);
    }
  }
  assert.ok(guarded.subarray(64).every((byte) => byte === 0xa5));
  assert.is(calls.vitrine_snapshot_sessions(restored, both, 1), Status.buffer_too_small);
  assert.match(errorText(restored), /room for 2 sessions, found 1/);
  assert.is(calls.vitrine_snapshot_sessions(restored, both, 2), Status.ok);
  assert.is(
    calls.vitrine_snapshot_sessions(restored, new Uint32Array(2), 2),
    Status.buffer_too_small,
  );
  const [first = 0, second = 0] = both;
  assert.is(calls.vitrine_session_exchange(first, second), Status.ok);
  assert.is(calls.vitrine_session_exchange(first, first), Status.ok);
  assert.is(calls.vitrine_session_exchange(first, model), Status.invalid_handle);
  // Sessions outlive what made them, and a snapshot the model's handle.
  assert.is(calls.vitrine_model_destroy(model), Status.ok);
  assert.is(restore(model, file, file.length, 0, out), Status.invalid_handle);
  assert.match(errorText(out[0] ?? 0), /expected a model/);
  for (const handle of [restored, saved, out[0] ?? 0, restored]) {
    assert.is(calls.vitrine_snapshot_destroy(handle), Status.ok);
  }
  assert.is(calls.vitrine_session_truncate(second, 0), Status.ok);
  for (const [sessions, count] of [[null, 1], [both, 0], [Uint32Array.of(7), 1]] as const) {
    const status = save(sessions, count, file, file.length, out);
    assert.ok(status === Status.invalid_argument || status === Status.invalid_handle);
    assert.match(errorText(out[0] ?? 0), /expected/);
    calls.vitrine_snapshot_destroy(out[0] ?? 0);
  }
  assert.is(save(both, 2, file, 0, out), Status.invalid_argument);
  calls.vitrine_snapshot_destroy(out[0] ?? 0);
  assert.is(save(both, 2, file, file.length, null), Status.invalid_argument);
  for (const handle of [first, second, child]) calls.vitrine_session_destroy(handle);
});

handles.run();
