/**
 * Fetches one file over HTTP: continues what was interrupted, now or in an earlier run, compares the
 * length with what was promised, and the checksum where one is known. The Hugging Face hub names the
 * checksum in a header of its redirect (`x-linked-etag`); a URL can carry it.
 *
 * @module
 */

import {
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename } from "node:path";
import { EngineError } from "../engine_error.ts";
import { pause } from "./lock.ts";
import { type PullSettings, throttle } from "./progress.ts";
import { Interrupted, openRemote, type Remote } from "./remote.ts";
import { admit } from "./verify.ts";

/** A file on a server, and where it goes. */
export interface RemoteFile {
  readonly url: URL;
  /** Where it is kept. */
  readonly path: string;
  /** Checksum, when it is known beforehand. */
  readonly sha256: string | undefined;
  /** Headers for the server that `url` names, and for no other. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What must be the same for a part to be continued. */
interface Identity {
  readonly url: string;
  readonly etag: string | undefined;
  readonly sha256: string | undefined;
}

/** How often a transfer is begun again without one more byte having come. */
const triesMax = 5;

/** Fetches a file; the caller holds the lock of its path. */
export async function download(file: RemoteFile, settings: PullSettings): Promise<void> {
  const part = `${file.path}.part`;
  const resumed = existsSync(part) && statSync(part).size > 0;
  try {
    await attempt(file, part, settings);
  } catch (error) {
    // A part of an earlier run may be of another file than today's: that is worth one fresh start.
    const mixed = error instanceof EngineError && error.code === "invalid-file";
    if (!resumed || !mixed || existsSync(part)) throw error;
    await attempt(file, part, settings);
  }
  rmSync(identityPath(part), { force: true });
}

/** One transfer with as many continuations as it takes, and the check of the result. */
async function attempt(file: RemoteFile, part: string, settings: PullSettings): Promise<void> {
  let sha256: string | undefined;
  let tries = 0;
  while (true) {
    const before = sizeOf(part);
    try {
      sha256 = await transfer(file, part, settings);
      break;
    } catch (error) {
      settings.signal?.throwIfAborted();
      if (!(error instanceof Interrupted)) throw error;
      tries = sizeOf(part) > before ? 0 : tries + 1;
      if (tries >= triesMax) {
        throw new EngineError(
          "input-output",
          `Expected ${error.expected} from ${shown(file.url)}, but found ${error.message}; ` +
            `${sizeOf(part)} bytes are kept, and the next pull continues there`,
          { cause: error },
        );
      }
      await pause(Math.min(50 * 2 ** tries, 2000), settings.signal);
    }
  }
  await admit(part, file.path, file.sha256 ?? sha256, shown(file.url), settings);
}

/** Asks for what is missing and appends it. Returns the checksum that the server named. */
async function transfer(
  file: RemoteFile,
  part: string,
  settings: PullSettings,
): Promise<string | undefined> {
  const have = sizeOf(part);
  const known = readIdentity(part, file.url);
  const range: Record<string, string> = {};
  if (have > 0 && known !== undefined) {
    range["range"] = `bytes=${have}-`;
    if (known.etag !== undefined) range["if-range"] = known.etag;
  }
  const remote = await openRemote(
    file.url,
    { ...file.headers, ...range },
    file.headers,
    settings.signal,
  );
  try {
    const identity: Identity = { url: file.url.href, etag: remote.etag, sha256: remote.sha256 };
    if (remote.status === 416) return atEnd(remote, part, have, identity);
    const continues = remote.status === 206 && remote.from === have && sameFile(known, identity);
    if (remote.status === 206 && !continues) {
      // The server continues something else: begin again, from the first byte.
      rmSync(part, { force: true });
      throw new Interrupted("the part of another file", "the rest of the file");
    }
    writeFileSync(identityPath(part), JSON.stringify(identity));
    await receive(remote, part, continues ? have : 0, file, settings);
    return identity.sha256;
  } finally {
    await remote.close();
  }
}

/** 416: nothing is left to send. Right when the part is whole; otherwise the part is worthless. */
function atEnd(remote: Remote, part: string, have: number, identity: Identity): string | undefined {
  if (have > 0 && remote.total === have) return identity.sha256;
  if (remote.total !== undefined && have < remote.total) {
    throw new Interrupted(`${have} and then no more`, `${remote.total} bytes`);
  }
  rmSync(part, { force: true });
  throw new Interrupted("a part that is longer than the file", `${remote.total ?? "fewer"} bytes`);
}

/** Writes the body behind the first `from` bytes of the part. */
async function receive(
  remote: Remote,
  part: string,
  from: number,
  file: RemoteFile,
  settings: PullSettings,
): Promise<void> {
  const { total } = remote;
  const report = throttle(settings.onProgress, 100);
  const name = basename(file.path);
  const output = openSync(part, from > 0 ? "r+" : "w");
  let done = from;
  try {
    ftruncateSync(output, from);
    for await (const bytes of remote.body(settings.signal)) {
      if (total !== undefined && done + bytes.length > total) {
        ftruncateSync(output, 0);
        throw new EngineError(
          "invalid-file",
          `Expected ${total} bytes from ${shown(file.url)}, but found more`,
        );
      }
      for (let at = 0; at < bytes.length;) {
        at += writeSync(output, bytes, at, bytes.length - at, done + at);
      }
      done += bytes.length;
      report({ phase: "download", name, done, total: total ?? 0 });
    }
  } finally {
    closeSync(output);
  }
  report({ phase: "download", name, done, total: total ?? 0 }, true);
  if (total === undefined && !remote.endsItself && (file.sha256 ?? remote.sha256) === undefined) {
    throw new EngineError(
      "invalid-file",
      `Expected ${shown(file.url)} to come with a length or a checksum, but found neither; ` +
        "add #sha256=… to the URL",
    );
  }
  if (total !== undefined && done < total) {
    throw new Interrupted(`an end after ${done}`, `${total} bytes`);
  }
}

function sameFile(known: Identity | undefined, now: Identity): boolean {
  if (known === undefined) return false;
  if (known.sha256 !== undefined || now.sha256 !== undefined) return known.sha256 === now.sha256;
  return known.etag !== undefined && known.etag === now.etag;
}

/** What the part is a part of; nothing when it can't be told, and then it isn't continued. */
function readIdentity(part: string, url: URL): Identity | undefined {
  try {
    const read = JSON.parse(readFileSync(identityPath(part), "utf8"));
    if (typeof read !== "object" || read === null || read.url !== url.href) return undefined;
    const text = (value: unknown) => typeof value === "string" ? value : undefined;
    const identity = { url: url.href, etag: text(read.etag), sha256: text(read.sha256) };
    return identity.etag === undefined && identity.sha256 === undefined ? undefined : identity;
  } catch {
    return undefined;
  }
}

function identityPath(part: string): string {
  return `${part}.json`;
}

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

/** A URL for a message: without what may be secret in it. */
function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
