/**
 * The runtime seam under Deno. A callback from a foreign thread blocks that thread until JavaScript
 * has run it, so only notifier threads call, and they are joined by a call that doesn't block.
 *
 * @module
 */
import type { Opened, Runtime, WakeCallback, WakePointer } from "./library.ts";
import { type Calls, functions, type ParameterKind } from "./symbols.gen.ts";

const types: Record<ParameterKind, Deno.NativeType> = {
  u32: "u32",
  i32: "i32",
  f64: "f64",
  buffer: "buffer",
  callback: "function",
};

/** Those that native code may call until the end; one that is collected must not be called. */
const callbacks: unknown[] = [];

/** Opens libraries with `Deno.dlopen`; needs the permission `--allow-ffi`. */
export const deno: Runtime = {
  open(path: string): Opened {
    const symbols: Record<string, Deno.ForeignFunction> = {
      join: {
        name: "vitrine_wake_join",
        parameters: ["u32"],
        result: "i32",
        nonblocking: true,
      },
    };
    for (const [name, parameters] of Object.entries(functions)) {
      symbols[name] = { parameters: parameters.map((kind) => types[kind]), result: "i32" };
    }
    const library = Deno.dlopen(path, symbols);
    const join = library.symbols["join"] as unknown as (slot: number) => Promise<number>;
    return {
      calls: library.symbols as unknown as Calls,
      wakeCallback,
      callback: (call) => {
        const callback = new Deno.UnsafeCallback({ parameters: [], result: "void" }, call);
        callbacks.push(callback);
        return callback.pointer as unknown as WakePointer;
      },
      inWorker: "WorkerGlobalScope" in globalThis,
      joinWake: async (slot) => {
        await join(slot);
      },
    };
  },
};

function wakeCallback(wake: () => void): WakeCallback {
  const callback = new Deno.UnsafeCallback({ parameters: [], result: "void" }, wake);
  return {
    pointer: callback.pointer as unknown as WakePointer,
    hold: () => void callback.ref(),
    release: () => void callback.unref(),
  };
}
