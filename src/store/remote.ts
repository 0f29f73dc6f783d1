/**
 * One answer of a server: follows redirects by hand, so that a token goes to the server it is meant
 * for and to no other, and so that headers of the redirects themselves can be read.
 *
 * @module
 */

import { EngineError } from "../engine_error.ts";

/** The transfer ended too early, or could not begin; it may be tried again. */
export class Interrupted extends Error {
  /** What should have come. */
  readonly expected: string;

  constructor(found: string, expected: string, options?: { cause?: unknown }) {
    super(found, options);
    this.expected = expected;
  }
}

/** An answer whose body is still to be read. */
export interface Remote {
  readonly status: number;
  /** First byte of what follows. */
  readonly from: number;
  /** Length of the whole file, when the server says it. */
  readonly total: number | undefined;
  /** A strong entity tag, when there is one. */
  readonly etag: string | undefined;
  /** The checksum that the hub names. */
  readonly sha256: string | undefined;
  /** The encoding marks its own end, so an early one is noticed without a length. */
  readonly endsItself: boolean;
  /** The bytes; throws `Interrupted` when the connection breaks or is silent for a minute. */
  body(signal: AbortSignal | undefined): AsyncGenerator<Uint8Array>;
  /** Gives the connection up; harmless after the end. */
  close(): Promise<void>;
}

const redirectsMax = 10;
const silenceMs = 60_000;

/**
 * Sends a GET.
 *
 * @param url Where to.
 * @param headers What is sent.
 * @param own Those of the headers that only the first server may see.
 */
export async function openRemote(
  url: URL,
  headers: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
  signal: AbortSignal | undefined,
): Promise<Remote> {
  const sent: Record<string, string> = { "accept-encoding": "identity", ...headers };
  let linked: { sha256: string | undefined; bytes: number | undefined } | undefined;
  let at = url;
  for (let hop = 0; hop < redirectsMax; hop++) {
    const control = new AbortController();
    const response = await send(at, sent, control, signal);
    linked ??= linkedOf(response);
    const location = response.headers.get("location");
    if (response.status < 300 || response.status >= 400 || location === null) {
      return judge(response, control, linked, at);
    }
    await response.body?.cancel();
    const next = new URL(location, at);
    if (at.protocol === "https:" && next.protocol !== "https:") {
      throw new EngineError(
        "input-output",
        `Expected a redirect to https from ${at.origin}, but found ${next.protocol}`,
      );
    }
    if (next.origin !== url.origin) { for (const name of Object.keys(own)) delete sent[name]; }
    at = next;
  }
  throw new EngineError(
    "input-output",
    `Expected at most ${redirectsMax} redirects from ${url.origin}, but found more`,
  );
}

async function send(
  url: URL,
  headers: Record<string, string>,
  control: AbortController,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const timer = setTimeout(() => control.abort(new Error("silence")), silenceMs);
  const onAbort = () => control.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    signal?.throwIfAborted();
    return await fetch(url, { headers, redirect: "manual", signal: control.signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new Interrupted(`no answer (${message(cause)})`, "an answer", { cause });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Turns a final answer into a `Remote`, or into the error that it means. */
async function judge(
  response: Response,
  control: AbortController,
  linked: { sha256: string | undefined; bytes: number | undefined } | undefined,
  url: URL,
): Promise<Remote> {
  const { status, headers } = response;
  const place = `${url.origin}${url.pathname}`;
  const refuse = async (error: Error): Promise<never> => {
    await response.body?.cancel();
    throw error;
  };
  if (status === 401 || status === 403) {
    return await refuse(
      new EngineError(
        "input-output",
        `Expected a file that may be read at ${place}, but the server answered ${status}; a token in HF_TOKEN may help`,
      ),
    );
  }
  if (status === 404 || status === 410) {
    return await refuse(
      new EngineError(
        "model-not-found",
        `Expected a file at ${place}, but the server answered ${status}`,
      ),
    );
  }
  if (status === 408 || status === 429 || status >= 500) {
    return await refuse(new Interrupted(`the answer ${status}`, "a file"));
  }
  if (status !== 200 && status !== 206 && status !== 416) {
    return await refuse(
      new EngineError(
        "input-output",
        `Expected a file at ${place}, but the server answered ${status}`,
      ),
    );
  }
  const range = rangeOf(headers.get("content-range"));
  const encoded = (headers.get("content-encoding") ?? "identity") !== "identity";
  const length = encoded ? undefined : wholeNumber(headers.get("content-length"));
  const total = status === 200 ? length : range?.total;
  if (linked?.bytes !== undefined && total !== undefined && total !== linked.bytes) {
    return await refuse(
      new EngineError(
        "invalid-file",
        `Expected ${linked.bytes} bytes at ${place}, but the server offers ${total}`,
      ),
    );
  }
  const etag = headers.get("etag");
  return {
    status,
    from: range?.from ?? 0,
    total: total ?? linked?.bytes,
    etag: etag !== null && etag.startsWith('"') ? etag : undefined,
    sha256: linked?.sha256,
    endsItself: (headers.get("transfer-encoding") ?? "").includes("chunked"),
    body: (signal) => read(response, control, signal),
    close: async () => {
      control.abort();
      await response.body?.cancel().catch(() => undefined);
    },
  };
}

async function* read(
  response: Response,
  control: AbortController,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const onAbort = () => control.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const reader = response.body.getReader();
  try {
    while (true) {
      timer = setTimeout(() => control.abort(new Error("silence")), silenceMs);
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) return;
      yield value;
    }
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof EngineError) throw cause;
    throw new Interrupted(`a broken connection (${message(cause)})`, "the whole file", { cause });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** What the hub says about a file that it keeps elsewhere. */
function linkedOf(
  response: Response,
): { sha256: string | undefined; bytes: number | undefined } | undefined {
  const etag = response.headers.get("x-linked-etag");
  if (etag === null) return undefined;
  const match = /^"?([0-9a-f]{64})"?$/i.exec(etag);
  return {
    sha256: match?.[1]?.toLowerCase(),
    bytes: wholeNumber(response.headers.get("x-linked-size")),
  };
}

/** `bytes 5-9/10`; in a refusal the range is a star. */
function rangeOf(text: string | null): { from: number; total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(text ?? "");
  if (match === null) return undefined;
  return { from: Number(match[1] ?? 0), total: wholeNumber(match[2] ?? null) };
}

function wholeNumber(text: string | null): number | undefined {
  if (text === null || !/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}

function message(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
