/**
 * Saves and restores native sessions, on a thread of the engine.
 *
 * @module
 */
import { check, type Library, statusError } from "../ffi/library.ts";
import { SnapshotPhase, SnapshotStateLayout } from "../ffi/symbols.gen.ts";
import type { SnapshotProgress } from "../snapshot_options.ts";
import { checkFunction, checkSignal, found } from "./check.ts";
import { tableOfFile } from "./few_rules.ts";
import { cacheShapeOf } from "./kv_table.ts";
import type { ModelCore } from "./model_core.ts";
import { SessionCore } from "./session_core.ts";
import type { SnapshotHeader } from "./snapshot_file.ts";

interface Watch {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: SnapshotProgress) => void) | undefined;
}

const encoder = new TextEncoder();
/** How often `onProgress` is told, in milliseconds. */
const progressMs = 100;

/** A path as the engine takes it. */
export function checkPath(path: unknown): string {
  if (typeof path === "string" && path !== "" && !path.includes("\0")) return path;
  throw new TypeError(`Expected the path of a file, but found ${found(path)}`);
}

/** Writes sessions of one model into a file. */
export async function saveSessions(
  cores: readonly SessionCore[],
  path: string,
  watch: Watch,
): Promise<void> {
  const { library } = cores[0]!.model;
  const handles = Uint32Array.from(cores, (core) => core.handle);
  const bytes = encoder.encode(path);
  await follow(
    library,
    "save",
    watch,
    (out) => library.calls.vitrine_snapshot_save(handles, handles.length, bytes, bytes.length, out),
    () => {},
  );
}

/** Makes sessions of a file. */
export function restoreSessions(
  model: ModelCore,
  path: string,
  context: number | undefined,
  watch: Watch,
): Promise<SessionCore[]> {
  const { library } = model;
  const bytes = encoder.encode(path);
  return follow(
    library,
    "restore",
    watch,
    (out) =>
      library.calls.vitrine_snapshot_restore(model.handle, bytes, bytes.length, context ?? 0, out),
    (handle, count) => {
      const header = readHeader(library, handle);
      const shape = cacheShapeOf(model.info);
      const kv = tableOfFile(header.cache.policy, shape, "kv");
      const handles = new Uint32Array(count);
      const { vitrine_snapshot_sessions } = library.calls;
      check(library, vitrine_snapshot_sessions(handle, handles, count), handle);
      return Array.from(handles, (session, i) => {
        const { context: saved, chunk, shift_keep: keep } = header.sequences[i]!;
        const settings = { context: context ?? saved, kv, chunk, shiftKeep: keep ?? -1 };
        return SessionCore.adopt(model, settings, session);
      });
    },
  );
}

/** The JSON of a restored file, which the engine has checked. */
function readHeader(library: Library, handle: number): SnapshotHeader {
  const length = new Uint32Array(1);
  const { vitrine_snapshot_header } = library.calls;
  vitrine_snapshot_header(handle, null, 0, length);
  const text = new Uint8Array(length[0]!);
  check(library, vitrine_snapshot_header(handle, text, text.length, length), handle);
  return JSON.parse(new TextDecoder().decode(text));
}

/** Starts, waits, and takes what comes of it. */
async function follow<T>(
  library: Library,
  phase: SnapshotProgress["phase"],
  watch: Watch,
  start: (out: Uint32Array<ArrayBuffer>) => number,
  take: (handle: number, count: number) => T,
): Promise<T> {
  const { calls, driver } = library;
  checkFunction(watch.onProgress, "onProgress");
  const signal = checkSignal(watch.signal, "signal");
  signal?.throwIfAborted();
  const state = new DataView(new ArrayBuffer(SnapshotStateLayout.bytes));
  const bytes = new Uint8Array(state.buffer);
  const out = new Uint32Array(1);
  driver.acquire();
  let handle = 0;
  const cancel = () => void calls.vitrine_snapshot_cancel(handle);
  const report = () => {
    calls.vitrine_snapshot_state(handle, bytes, bytes.length);
    const number = (offset: number) => state.getFloat64(offset, true);
    watch.onProgress?.({
      phase,
      done: number(SnapshotStateLayout.done),
      total: number(SnapshotStateLayout.total),
    });
  };
  let timer: ReturnType<typeof setInterval> | undefined;
  try {
    const status = start(out);
    handle = out[0] ?? 0;
    check(library, status, handle);
    timer = watch.onProgress && setInterval(report, progressMs);
    signal?.addEventListener("abort", cancel);
    for (;;) {
      const ticket = driver.wakes;
      check(library, calls.vitrine_snapshot_state(handle, bytes, bytes.length), handle);
      const now = state.getUint32(SnapshotStateLayout.phase, true);
      if (now === SnapshotPhase.ready) break;
      if (now !== SnapshotPhase.running) {
        signal?.throwIfAborted();
        throw statusError(library, state.getInt32(SnapshotStateLayout.status, true), handle);
      }
      await driver.wait(ticket);
    }
    if (watch.onProgress) report();
    return take(handle, state.getUint32(SnapshotStateLayout.sessions, true));
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", cancel);
    if (handle !== 0) calls.vitrine_snapshot_destroy(handle);
    await driver.release();
  }
}
