/**
 * A lock between processes: a file that says who holds it. The holder touches it every two seconds;
 * one whose process is gone, or that nobody touched for half a minute, is taken over.
 *
 * @module
 */

import {
  closeSync,
  existsSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import process from "node:process";

const touchMs = 2_000;
const staleMs = 30_000;
const pollMs = 100;

/** How a lock is waited for. */
export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once, when somebody else holds the lock. */
  readonly onWait?: (() => void) | undefined;
}

/**
 * Runs `body` while this process holds the lock at `path`, waiting for it first.
 *
 * @returns What `body` returns.
 */
export async function withLock<Result>(
  path: string,
  options: LockOptions,
  body: () => Promise<Result>,
): Promise<Result> {
  let waited = false;
  while (!take(path)) {
    if (dropStale(path)) continue;
    if (!waited) options.onWait?.();
    waited = true;
    await pause(pollMs, options.signal);
  }
  const beat = setInterval(() => {
    try {
      utimesSync(path, new Date(), new Date());
    } catch {
      // Whoever removed it has judged us dead; the checksum decides what becomes of the file.
    }
  }, touchMs);
  // An exit in the middle (Ctrl-C, an uncaught error) gives the lock back too.
  const release = () => rmSync(path, { force: true });
  process.once("exit", release);
  try {
    return await body();
  } finally {
    clearInterval(beat);
    process.removeListener("exit", release);
    release();
  }
}

/** Makes the lock file; only one process can. */
function take(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, "wx");
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") return false;
    throw error;
  }
  try {
    writeSync(file, `${process.pid} ${hostname()}\n`);
  } finally {
    closeSync(file);
  }
  return true;
}

/** Removes a lock that nobody holds any more. Returns whether it is worth trying again at once. */
function dropStale(path: string): boolean {
  try {
    const text = readFileSync(path, "utf8");
    const age = Date.now() - statSync(path).mtimeMs;
    const [pid, host] = text.trim().split(" ");
    const dead = host === hostname() && !isAlive(Number(pid));
    if (!dead && age < staleMs) return false;
    const aside = `${path}.${process.pid}`;
    renameSync(path, aside);
    // Another process may have replaced the stale lock by its own since it was judged: give that back.
    if (readFileSync(aside, "utf8") !== text && !existsSync(path)) linkSync(aside, path);
    rmSync(aside, { force: true });
    return true;
  } catch (error) {
    // It went away by itself.
    if ((error as { code?: string }).code === "ENOENT") return true;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: string }).code === "EPERM";
  }
}

/** Waits, and ends the waiting with the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
