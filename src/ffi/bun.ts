/**
 * The runtime seam under Bun. A thread-safe callback is queued for JavaScript's thread and the
 * caller goes on at once; it carries no argument and no result, which is the form that works.
 *
 * @module
 */
import type { Opened, Runtime, WakeCallback, WakePointer } from "./library.ts";
import { type Calls, functions, type ParameterKind } from "./symbols.gen.ts";

/** The part of `bun:ffi` that is used; the other runtime can't resolve the module or its types. */
interface BunFfi {
  dlopen(
    path: string,
    symbols: Record<string, { args: readonly string[]; returns: string }>,
  ): { symbols: Record<string, (...args: unknown[]) => number> };
  JSCallback: new (
    callback: () => void,
    definition: { args: readonly string[]; returns: string; threadsafe?: boolean },
  ) => { readonly ptr: number | null };
}

const types: Record<ParameterKind, string> = {
  u32: "u32",
  i32: "i32",
  f64: "f64",
  buffer: "ptr",
  callback: "ptr",
};

/** Those that native code may call until the end; one that is collected must not be called. */
const callbacks: unknown[] = [];

/** Loads `bun:ffi`, which exists only under Bun, and opens libraries with it. */
export async function bun(): Promise<Runtime> {
  const specifier: string = "bun:ffi";
  const ffi = await import(specifier) as BunFfi;
  return {
    open(path: string): Opened {
      const symbols: Record<string, { args: readonly string[]; returns: string }> = {};
      for (const [name, parameters] of Object.entries(functions)) {
        symbols[name] = { args: parameters.map((kind) => types[kind]), returns: "i32" };
      }
      const library = ffi.dlopen(path, symbols);
      const calls = library.symbols as unknown as Calls;
      const { Bun } = globalThis as unknown as { Bun: { isMainThread: boolean } };
      return {
        calls,
        inWorker: !Bun.isMainThread,
        wakeCallback: (wake) => wakeCallback(ffi, wake),
        callback: (call) => {
          const callback = new ffi.JSCallback(call, { args: [], returns: "void" });
          callbacks.push(callback);
          return callback.ptr as unknown as WakePointer;
        },
        joinWake: (slot) => {
          calls.vitrine_wake_join(slot);
          return Promise.resolve();
        },
      };
    },
  };
}

/** Bun's callbacks don't keep the process alive, so that a timer that never matters does. */
function wakeCallback(ffi: BunFfi, wake: () => void): WakeCallback {
  const callback = new ffi.JSCallback(wake, { args: [], returns: "void", threadsafe: true });
  let timer: ReturnType<typeof setInterval> | undefined;
  return {
    pointer: callback.ptr as unknown as WakePointer,
    hold() {
      timer ??= setInterval(() => {}, 0x7fff_ffff);
    },
    release() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}
