/**
 * The runtime seam: what a runtime must be able to do, and the opening of the native library.
 * `bun.ts` and `deno.ts` are the two implementations; nothing else mentions a runtime.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EngineError, type EngineErrorCode } from "../engine_error.ts";
import { Driver } from "./driver.ts";
import { abiHash, type Calls, Status } from "./symbols.gen.ts";

/** A buffer that native code may read or fill during a call, and never afterwards. */
export type Bytes = ArrayBufferView<ArrayBuffer> | null;

/** A function that a native thread can have called in JavaScript's own thread. */
export interface WakeCallback {
  /** Its native address, in the form that this runtime's calls take; opaque to everybody else. */
  readonly pointer: WakePointer;
  /** Keeps the process alive while a wake-up is awaited. */
  hold(): void;
  /** Lets the process end. */
  release(): void;
}

declare const wakePointer: unique symbol;
/** A native address: a number in one runtime, an object in the other. */
export type WakePointer = { readonly [wakePointer]: true };

/** An opened library. */
export interface Opened {
  /** Its functions, by their C names. */
  readonly calls: Calls;
  /** Makes the callback through which native code wakes JavaScript. */
  wakeCallback(wake: () => void): WakeCallback;
  /** Makes a callback that native code calls while a call of this thread waits. It is never given back. */
  callback(call: () => void): WakePointer;
  /** Whether this is a worker, which may be terminated at any time. */
  readonly inWorker: boolean;
  /** Waits, without blocking JavaScript, until the notifier of a registration has ended. */
  joinWake(slot: number): Promise<void>;
}

/** A runtime: opens a library at an absolute path and throws what the runtime throws. */
export interface Runtime {
  open(path: string): Opened;
}

/** The library, ready to be called, with the driver of this JavaScript thread. */
export interface Library extends Opened {
  readonly path: string;
  readonly driver: Driver;
}

let opening: Promise<Library> | undefined;

/** Opens the library once in each JavaScript thread; a failure is tried again at the next call. */
export function openLibrary(): Promise<Library> {
  opening ??= open().catch((error) => {
    opening = undefined;
    throw error;
  });
  return opening;
}

async function open(): Promise<Library> {
  const runtime = await chooseRuntime();
  const path = findLibrary();
  return openAt(runtime, path);
}

/** Opens the library at `path`, and refuses one whose interface differs from this module's. */
export function openAt(runtime: Runtime, path: string): Library {
  let opened: Opened;
  try {
    opened = runtime.open(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError(
      reason.includes("vitrine_") ? "library-mismatch" : "library-not-found",
      `Expected a Vitrine library at ${path}, but it can't be opened: ${reason}`,
      { cause },
    );
  }
  const hash = new Uint32Array(2);
  opened.calls.vitrine_abi_hash(hash);
  if (hash[0] !== abiHash[0] || hash[1] !== abiHash[1]) {
    throw new EngineError(
      "library-mismatch",
      `Expected a library with the interface ${hex(abiHash)}, but ${path} has ${hex(hash)}; ` +
        "build it again with `zig build`, or update the package",
    );
  }
  const driver = new Driver(opened);
  return { path, driver, ...opened };
}

function hex(hash: ArrayLike<number>): string {
  return [hash[1] ?? 0, hash[0] ?? 0].map((word) => word.toString(16).padStart(8, "0")).join("");
}

async function chooseRuntime(): Promise<Runtime> {
  if ("Deno" in globalThis) return (await import("./deno.ts")).deno;
  if ("Bun" in globalThis) return (await import("./bun.ts")).bun();
  throw new EngineError("runtime-unsupported", "Expected Bun or Deno, but found another runtime");
}

/** Places that are tried, in order: the environment, the local build, the platform's package. */
export function libraryCandidates(
  environment: string | undefined = process.env["VITRINE_LIBRARY"],
): string[] {
  if (environment) return [environment];
  const { platform, arch } = process;
  const file = platform === "win32"
    ? "vitrine.dll"
    : platform === "darwin"
    ? "libvitrine.dylib"
    : "libvitrine.so";
  const folder = platform === "win32" ? "bin" : "lib";
  const root = fileURLToPath(new URL("../../", import.meta.url));
  return [
    `${root}zig-out/${folder}/${file}`,
    `${root}node_modules/@vitrine/${platform}-${arch}/${file}`,
    `${root}../@vitrine/${platform}-${arch}/${file}`,
  ];
}

function findLibrary(): string {
  const candidates = libraryCandidates();
  const path = candidates.find((candidate) => existsSync(candidate));
  if (path !== undefined) return resolve(path);
  throw new EngineError(
    "library-not-found",
    `Expected the native library at ${candidates.join(" or ")}, but found no file there; ` +
      "build it with `zig build`, or name it in VITRINE_LIBRARY",
  );
}

const decoder = new TextDecoder();

/** Throws what a status means; the text is read from `handle`, and belongs to it alone. */
export function check(library: Library, status: number, handle: number): void {
  if (status !== Status.ok) throw statusError(library, status, handle);
}

/** The error that a status and the text of a handle make. */
export function statusError(library: Library, status: number, handle: number): EngineError {
  const buffer = new Uint8Array(2048);
  const length = new Uint32Array(1);
  library.calls.vitrine_error_text(handle, buffer, buffer.length, length);
  if (length[0] === 0) library.calls.vitrine_status_text(status, buffer, buffer.length, length);
  return new EngineError(codeOf(status), decoder.decode(buffer.subarray(0, length[0])));
}

/** The error that a status and the text of the last draw make. */
export function drawError(library: Library, status: number): EngineError {
  const buffer = new Uint8Array(2048);
  const length = new Uint32Array(1);
  library.calls.vitrine_draw_error(buffer, buffer.length, length);
  if (length[0] === 0) library.calls.vitrine_status_text(status, buffer, buffer.length, length);
  return new EngineError(codeOf(status), decoder.decode(buffer.subarray(0, length[0])));
}

function codeOf(status: number): EngineErrorCode {
  for (const [name, value] of Object.entries(Status)) {
    if (value === status) return name.replaceAll("_", "-") as EngineErrorCode;
  }
  return "internal";
}
