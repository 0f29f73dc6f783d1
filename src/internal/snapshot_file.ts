/**
 * The file of saved sessions, read without the engine: docs/snapshot.md describes it.
 *
 * @module
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { EngineError, type EngineErrorCode } from "../engine_error.ts";
import type { KvFormat } from "../kv_format.ts";
import type { KvPolicy } from "../kv_policy.ts";
import type { Rotation } from "./rope.ts";
import { hex32, xxHash32 } from "./xxhash32.ts";

/** The JSON of a file. */
export interface SnapshotHeader {
  readonly model: {
    readonly architecture: string;
    readonly name: string;
    readonly identity: string;
    readonly logits: number;
  };
  readonly engine: { readonly precision: string; readonly cpu_variant: string };
  readonly cache: {
    readonly layers: number;
    readonly heads: number;
    readonly key_length: number;
    readonly value_length: number;
    readonly page_length: number;
    readonly policy: KvPolicy;
    /** Where keys are stored before their rotary embedding. */
    readonly rope?: readonly Rotation[];
  };
  readonly pages: readonly number[];
  /** Of pages that hold tokens at full precision. */
  readonly exact_pages?: readonly number[];
  readonly sequences: readonly {
    readonly context: number;
    readonly chunk: number;
    readonly shift_keep?: number;
    readonly tokens: number;
    readonly evaluated: number;
    readonly positions: readonly (readonly [number, number])[];
    readonly logits: boolean;
    readonly pages: readonly number[];
    readonly exact?: { readonly from: number; readonly pages: readonly number[] };
  }[];
  readonly sections: readonly SnapshotSection[];
}

/** Where something is in the file. */
export interface SnapshotSection {
  readonly kind: "tokens" | "logits" | "key" | "value" | "exact_key" | "exact_value";
  readonly sequence?: number;
  readonly layer?: number;
  readonly head?: number;
  readonly format?: KvFormat;
  readonly offset: number;
  readonly bytes: number;
  readonly checksum: string;
}

const magic = "VITRSESS";
const version = 1;
const preambleBytes = 32;
const alignment = 64;
const headerBytesMax = 64 << 20;

export class SnapshotFile {
  readonly path: string;
  readonly header: SnapshotHeader;
  readonly #start: number;
  #descriptor: number;

  /** Opens the file and checks preamble and header. */
  constructor(path: string) {
    this.path = path;
    this.#descriptor = this.#open();
    try {
      const { size } = fstatSync(this.#descriptor);
      const head = this.#read(0, Math.min(size, preambleBytes));
      const found = new TextDecoder().decode(head.subarray(0, magic.length));
      if (found === "" || !magic.startsWith(found)) {
        throw this.#error("a saved session", "another kind of file");
      }
      if (head.length < preambleBytes) {
        throw this.#error(`a preamble of ${preambleBytes} bytes`, `${head.length}`);
      }
      const view = new DataView(head.buffer);
      const word = (at: number) => view.getUint32(at, true);
      if (word(8) !== version) {
        throw this.#error(`version ${version} of saved sessions`, `${word(8)}`, "unsupported");
      }
      const bytes = Number(view.getBigUint64(16, true));
      if (bytes !== size) throw this.#error(`a file of ${bytes} bytes`, `${size}`);
      const headerBytes = word(12);
      this.#start = preambleBytes + headerBytes;
      if (headerBytes > headerBytesMax || this.#start > size || this.#start % alignment !== 0) {
        throw this.#error("a header within the file", `one of ${headerBytes} bytes`);
      }
      const whole = this.#read(0, this.#start);
      // The checksum is of the bytes with 0 in its own place.
      const checksum = word(24);
      whole.fill(0, 24, 28);
      if (xxHash32(whole) !== checksum || word(28) !== 0) {
        throw this.#error("a header that agrees with its checksum", "a damaged one");
      }
      this.header = this.#parse(whole.subarray(preambleBytes), size);
    } catch (error) {
      closeSync(this.#descriptor);
      throw error;
    }
  }

  close(): void {
    if (this.#descriptor < 0) return;
    closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  /** The bytes of a section, after its checksum has been verified. */
  read(section: SnapshotSection): Uint8Array<ArrayBuffer> {
    if (this.#descriptor < 0) {
      throw new EngineError("disposed", "Expected a snapshot that is open, but it was disposed of");
    }
    const bytes = Math.ceil(section.bytes / alignment) * alignment;
    const whole = this.#read(this.#start + section.offset, bytes);
    const found = hex32(xxHash32(whole));
    if (found !== section.checksum) {
      const { kind, sequence, layer, head } = section;
      const what = sequence === undefined
        ? `${kind}s of layer ${layer}, KV head ${head}`
        : `${kind} of sequence ${sequence}`;
      throw this.#error(`${what} with the checksum ${section.checksum}`, found);
    }
    return whole.subarray(0, section.bytes);
  }

  #open(): number {
    let isFile: boolean;
    try {
      // To open a named pipe is to wait for its writer.
      isFile = statSync(this.path).isFile();
      if (isFile) return openSync(this.path, "r");
    } catch (cause) {
      const missing = (cause as { code?: string }).code === "ENOENT";
      const code = missing ? "file-not-found" : "input-output";
      const reason = missing ? "no file" : (cause as Error).message;
      throw this.#error("a saved session", reason, code, cause);
    }
    throw this.#error("a saved session", "something that is no file", "input-output");
  }

  #read(from: number, length: number): Uint8Array<ArrayBuffer> {
    const into = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const got = readSync(this.#descriptor, into, at, length - at, from + at);
      if (got === 0) throw this.#error(`${length} bytes at ${from}`, `${at}`);
      at += got;
    }
    return into;
  }

  /** Checks what reading relies on; the rest is as whoever could write the checksum wrote it. */
  #parse(text: Uint8Array, size: number): SnapshotHeader {
    let header: SnapshotHeader;
    try {
      header = JSON.parse(new TextDecoder().decode(text));
    } catch (cause) {
      throw this.#error(
        "a header in JSON",
        "one that can't be read",
        "invalid-file",
        cause,
      );
    }
    const whole = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
    for (const { kind, offset, bytes, checksum } of header.sections ?? []) {
      const end = this.#start + offset + Math.ceil(bytes / alignment) * alignment;
      const isRight = whole(offset) && whole(bytes) && end <= size && typeof checksum === "string";
      if (!isRight) throw this.#error(`a section of ${kind} within the file`, "one outside");
    }
    const rows = (header.pages ?? []).reduce((sum, count) => sum + count, 0);
    for (const { pages, tokens, evaluated, exact } of header.sequences ?? []) {
      const isRight = whole(tokens) && evaluated <= tokens &&
        pages.length === Math.ceil(evaluated / header.cache.page_length) &&
        pages.every((page) => whole(header.pages[page])) && whole(rows) &&
        (exact?.pages ?? []).every((page) => whole(header.exact_pages?.[page]));
      if (!isRight) throw this.#error("a sequence that can be", "one that can't");
    }
    return header;
  }

  #error(
    expected: string,
    found: string,
    code: EngineErrorCode = "invalid-file",
    cause?: unknown,
  ): EngineError {
    return new EngineError(
      code,
      `${this.path}: Expected ${expected}, but found ${found}`,
      cause === undefined ? {} : { cause },
    );
  }
}
