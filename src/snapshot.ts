import { EngineError } from "./engine_error.ts";
import { checkChoice, checkFields, checkInteger, checkSide, found } from "./internal/check.ts";
import { tableOfFile } from "./internal/few_rules.ts";
import { inGroups, keyGroup, type KvHead } from "./internal/kv_layout.ts";
import { decodeGroups, decodeRows, rawRows, rowBytes } from "./internal/kv_rows.ts";
import { rotateRows, type Rotation } from "./internal/rope.ts";
import { formatCode, type KvTable, type KvTableShape } from "./internal/kv_table.ts";
import { hadamard } from "./internal/quantise.ts";
import { SnapshotFile, type SnapshotSection } from "./internal/snapshot_file.ts";
import type { KvFormat } from "./kv_format.ts";
import type { KvPart, KvRaw } from "./kv_part.ts";
import type { KvPolicy } from "./kv_policy.ts";

/** One of the sessions in a file. */
export interface SnapshotSequence {
  /** Tokens that the session could hold. */
  readonly context: number;
  /** Tokens in the sequence. */
  readonly length: number;
  /** Tokens that have keys and values; the one that was sampled last may have none yet. */
  readonly evaluated: number;
  /** Where those stand: from, and up to but without. */
  readonly positions: readonly (readonly [number, number])[];
  /** The session's `shift`, if it had one. */
  readonly shift: { readonly keep: number } | undefined;
  /** Whether the file has the logits behind the last evaluated token. */
  readonly hasLogits: boolean;
  /** Pages of the cache, by number; those that several sequences name are shared. */
  readonly pages: readonly number[];
}

/** Which keys or values `Snapshot.read` reads. */
export interface SnapshotPart extends KvPart {
  /** Of which sequence; 0 by default. */
  readonly sequence?: number | undefined;
}

/**
 * A file of saved sessions, opened without the engine: neither the native library nor the model is
 * needed. `readSnapshot` opens one. Parts are read when they are asked for, and verified against their
 * checksums.
 *
 * @example
 * ```ts
 * import { loadModel, readSnapshot } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256, kv: { key: "q8_0" } });
 * await session.prefill("The lighthouse at the end of the world");
 * await session.save("lighthouse.session");
 *
 * using snapshot = readSnapshot("lighthouse.session");
 * console.log(snapshot.model.name, snapshot.policy, snapshot.sequences[0]);
 * console.log(model.detokenize(snapshot.tokens()));
 * const keys = snapshot.read({ which: "key", layer: 1, head: 0 }); // [positions][values of a head]
 * console.log(keys.length / snapshot.keyLength);
 * ```
 */
export class Snapshot {
  /** Which model the sessions are of; `identity` is a hash of its metadata and a sample of its weights. */
  readonly model: {
    readonly architecture: string;
    readonly name: string;
    readonly identity: string;
  };
  /** What the cache was computed with. */
  readonly engine: { readonly precision: string; readonly cpuVariant: string };
  /** The formats in which keys and values are kept. */
  readonly policy: KvPolicy;
  readonly layers: number;
  /** KV heads. */
  readonly heads: number;
  /** Values of a head's key. */
  readonly keyLength: number;
  /** Values of a head's value. */
  readonly valueLength: number;
  /** Positions of each page that the file has. */
  readonly pages: readonly number[];
  /** The sessions, in the order in which they were saved. */
  readonly sequences: readonly SnapshotSequence[];

  readonly #file: SnapshotFile;
  readonly #table: KvTable;
  /** Row of each page's first position, in every section. */
  readonly #starts: readonly number[];
  /** The same of pages of tokens at full precision. */
  readonly #exactStarts: readonly number[];
  /** The section that was read last: the next part is often of the same one. */
  #last: { readonly section: SnapshotSection; readonly bytes: Uint8Array<ArrayBuffer> } | undefined;

  /** Only `readSnapshot` opens files. */
  constructor(file: SnapshotFile) {
    const { model, engine, cache, pages, sequences } = file.header;
    this.#file = file;
    this.model = {
      architecture: model.architecture,
      name: model.name,
      identity: model.identity,
    };
    this.engine = { precision: engine.precision, cpuVariant: engine.cpu_variant };
    this.layers = cache.layers;
    this.heads = cache.heads;
    this.keyLength = cache.key_length;
    this.valueLength = cache.value_length;
    this.pages = pages;
    this.sequences = sequences.map((sequence) => ({
      context: sequence.context,
      length: sequence.tokens,
      evaluated: sequence.evaluated,
      positions: sequence.positions,
      shift: sequence.shift_keep === undefined ? undefined : { keep: sequence.shift_keep },
      hasLogits: sequence.logits,
      pages: sequence.pages,
    }));
    const shape: KvTableShape = {
      layers: cache.layers,
      heads: cache.heads,
      keyLength: cache.key_length,
      valueLength: cache.value_length,
    };
    this.#table = tableOfFile(cache.policy, shape, "the policy of the file");
    this.policy = this.#table.policy;
    this.#starts = startsOf(pages);
    this.#exactStarts = startsOf(file.header.exact_pages ?? []);
  }

  /** The format of one head. */
  format(
    place: { readonly which: "key" | "value"; readonly layer: number; readonly head: number },
  ): KvFormat {
    checkFields(place, ["which", "layer", "head"], "format");
    return this.#table.format(
      checkSide(place.which),
      checkInteger(place.layer, 0, this.layers - 1, "layer"),
      checkInteger(place.head, 0, this.heads - 1, "head"),
    );
  }

  /** The tokens of a sequence. */
  tokens(sequence = 0): Uint32Array<ArrayBuffer> {
    const index = this.#sequence(sequence);
    const bytes = this.#read(
      this.#find((section) => section.kind === "tokens" && section.sequence === index),
    );
    return new Uint32Array(bytes.slice().buffer);
  }

  /** The logits behind the last evaluated token of a sequence; nothing where the file has none. */
  logits(sequence = 0): Float32Array<ArrayBuffer> | undefined {
    const index = this.#sequence(sequence);
    if (!this.sequences[index]!.hasLogits) return undefined;
    const bytes = this.#read(
      this.#find((section) => section.kind === "logits" && section.sequence === index),
    );
    return new Float32Array(bytes.slice().buffer);
  }

  /**
   * Reads keys or values.
   *
   * @param part Of which sequence, layer, head and positions.
   * @returns [heads][positions][values of a head], the numbers that attention multiplies with for the last
   *   token; with `view: "unrotated"` keys before their rotary embedding, of a cache that stores them so.
   */
  read(
    part: SnapshotPart & { readonly view?: "decoded" | "unrotated" | undefined },
  ): Float32Array<ArrayBuffer>;
  /** Takes apart what is stored: codes and scales. Heads that are stored differently come one by one. */
  read(part: SnapshotPart & { readonly view: "raw" }): KvRaw;
  /** The very bytes of the file: each position of a head as a row of the GGUF tensor type of its format. */
  read(part: SnapshotPart & { readonly view: "bytes" }): Uint8Array<ArrayBuffer>;
  read(
    part: SnapshotPart & {
      readonly view?: "decoded" | "unrotated" | "raw" | "bytes" | undefined;
    },
  ): Float32Array<ArrayBuffer> | KvRaw | Uint8Array<ArrayBuffer> {
    checkFields(part, ["sequence", "which", "layer", "head", "from", "to", "view"], "read");
    const view = checkChoice(part.view, ["decoded", "unrotated", "raw", "bytes"], "view") ??
      "decoded";
    const which = checkSide(part.which);
    const layer = checkInteger(part.layer, 0, this.layers - 1, "layer");
    const head = part.head === undefined
      ? undefined
      : checkInteger(part.head, 0, this.heads - 1, "head");
    const sequence = this.sequences[this.#sequence(part.sequence ?? 0)] as SnapshotSequence;
    const { evaluated } = sequence;
    const heads = head === undefined ? [...Array(this.heads).keys()] : [head];
    // Keys that are not in a whole group yet have no codes.
    const group = view === "raw" && which === "key"
      ? Math.max(...heads.map((head) => keyGroup(this.#table.stored(which, layer, head))))
      : 1;
    const whole = Math.floor(evaluated / group) * group;
    const to = part.to === undefined ? whole : checkInteger(part.to, 0, evaluated, "to");
    const from = part.from === undefined ? 0 : checkInteger(part.from, 0, to, "from");
    if (to > whole || from % group !== 0 || to % group !== 0) {
      throw new RangeError(
        `Expected keys of the ${whole} tokens in whole groups of ${group}, from and to ` +
          `multiples of ${group}, but found ${from} to ${to}`,
      );
    }
    if (view === "unrotated") this.#checkEarly(which, layer, heads);
    const rows = heads.map((head) => this.#rows(which, layer, head, sequence, from, to));
    const length = which === "key" ? this.keyLength : this.valueLength;
    if (view === "decoded" || view === "unrotated") {
      return joined(
        Float32Array,
        heads.map((head, i) => {
          const stored = this.#table.stored(which, layer, head);
          const values = which === "key" && inGroups(stored.format)
            ? this.#decodeGroups(stored, layer, head, sequence, from, to)
            : decodeRows(stored, rows[i]!, length);
          this.#addExact(values, which, layer, head, part.sequence ?? 0, from, to);
          if (stored.rotate) hadamard(values, length);
          if (stored.beforeRope && view === "decoded") {
            rotateRows(values, length, from, sequence.context, this.#rotation(layer));
          }
          return values;
        }),
      );
    }
    const stored = heads.map((head) => this.#table.stored(which, layer, head));
    const [first] = stored as [KvHead];
    if (new Set(stored.map(formatCode)).size > 1) {
      throw new RangeError(
        `Expected one head, because heads of layer ${layer} are stored differently, but found ` +
          `all of them: ${[...new Set(stored.map(({ format }) => format))].join(", ")}`,
      );
    }
    const bytes = joined(Uint8Array, rows);
    return view === "bytes" ? bytes : rawRows(first, bytes, length);
  }

  /**
   * Reads the whole file and checks it against its checksums.
   *
   * @throws {EngineError} `"invalid-file"`, with the first part that is damaged.
   */
  verify(): void {
    for (const section of this.#file.header.sections) this.#file.read(section);
  }

  /** Closes the file; again is harmless. */
  dispose(): void {
    this.#file.close();
    this.#last = undefined;
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Other keys would have to be turned back, which takes nothing but time, but is no reading any more. */
  #checkEarly(which: "key" | "value", layer: number, heads: readonly number[]): void {
    const late = heads.find((head) => !this.#table.stored(which, layer, head).beforeRope);
    if (late === undefined) return;
    throw new RangeError(
      `Expected keys that are stored before their rotary embedding for the view "unrotated", but found ` +
        `${which}s of layer ${layer}, KV head ${late}, which are not`,
    );
  }

  #rotation(layer: number): Rotation {
    const found = this.#file.header.cache.rope?.find(({ layers }) => layers.includes(layer));
    if (found !== undefined) return found;
    throw new EngineError(
      "invalid-file",
      `${this.#file.path}: Expected the rotary embedding of layer ${layer}, but found none`,
    );
  }

  #sequence(sequence: number): number {
    return checkInteger(sequence, 0, this.sequences.length - 1, "sequence");
  }

  #find(fits: (section: SnapshotSection) => boolean): SnapshotSection {
    return this.#file.header.sections.find(fits) as SnapshotSection;
  }

  #read(section: SnapshotSection): Uint8Array<ArrayBuffer> {
    if (this.#last?.section !== section) this.#last = { section, bytes: this.#file.read(section) };
    return this.#last.bytes;
  }

  /** Keys whose scales belong to groups of tokens. Of a group that isn't whole yet nothing is read here. */
  #decodeGroups(
    stored: KvHead,
    layer: number,
    head: number,
    sequence: SnapshotSequence,
    from: number,
    to: number,
  ): Float32Array<ArrayBuffer> {
    const { group } = stored;
    const first = Math.floor(from / group) * group;
    const whole = Math.floor(sequence.evaluated / group) * group;
    const end = Math.min(whole, Math.ceil(to / group) * group);
    const values = new Float32Array((to - from) * this.keyLength);
    if (first >= end) return values;
    const rows = this.#rows("key", layer, head, sequence, first, end);
    const decoded = decodeGroups(stored, rows, this.keyLength);
    const begin = (from - first) * this.keyLength;
    values.set(decoded.subarray(begin, begin + values.length));
    return values;
  }

  /** Puts the rows of tokens at full precision in their places among those of positions [from, to). */
  #addExact(
    values: Float32Array<ArrayBuffer>,
    which: "key" | "value",
    layer: number,
    head: number,
    sequence: number,
    from: number,
    to: number,
  ): void {
    const { windows } = this.#table;
    const { evaluated, exact } = this.#file.header.sequences[sequence]!;
    if (!windows.has(layer) || exact === undefined) return;
    const { page_length: pageLength } = this.#file.header.cache;
    const { sinks, recent } = windows.layers[layer]!;
    const stored = this.#read(
      this.#find((section) =>
        section.kind === `exact_${which}` && section.layer === layer && section.head === head
      ),
    );
    const length = which === "key" ? this.keyLength : this.valueLength;
    const size = rowBytes(windows.exact, length);
    // Pages of sinks come first, those from `exact.from` on behind them.
    const most = Math.max(...windows.layers.map((window) => window.sinks));
    const sinkPages = Math.min(Math.ceil(evaluated / pageLength), Math.ceil(most / pageLength));
    const first = Math.max(sinkPages, exact.from / pageLength);
    for (let position = from; position < to; position++) {
      if (position >= sinks && position < evaluated - recent) continue;
      const place = Math.floor(position / pageLength);
      const page = exact.pages[place < sinkPages ? place : sinkPages + place - first]!;
      const row = this.#exactStarts[page]! + position % pageLength;
      const bytes = stored.slice(row * size, (row + 1) * size);
      values.set(decodeRows(windows.exact, bytes, length), (position - from) * length);
    }
  }

  /** The rows of one head at positions [from, to) of a sequence, page by page. */
  #rows(
    which: "key" | "value",
    layer: number,
    head: number,
    sequence: SnapshotSequence,
    from: number,
    to: number,
  ): Uint8Array<ArrayBuffer> {
    const { page_length: pageLength } = this.#file.header.cache;
    const stored = this.#read(
      this.#find((section) =>
        section.kind === which && section.layer === layer && section.head === head
      ),
    );
    const length = which === "key" ? this.keyLength : this.valueLength;
    const size = rowBytes(this.#table.stored(which, layer, head), length);
    const result = new Uint8Array((to - from) * size);
    for (let position = from; position < to;) {
      const place = Math.floor(position / pageLength);
      const next = Math.min(to, (place + 1) * pageLength);
      const row = this.#starts[sequence.pages[place]!]! + position % pageLength;
      const rows = stored.subarray(row * size, (row + next - position) * size);
      result.set(rows, (position - from) * size);
      position = next;
    }
    return result;
  }
}

/** Row of each page's first position. */
function startsOf(pages: readonly number[]): number[] {
  let rows = 0;
  return pages.map((count) => (rows += count) - count);
}

function joined<T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  Kind: new (length: number) => T,
  parts: readonly T[],
): T {
  const result = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/**
 * Opens a file that `Session.save` wrote, without the engine. It reads in the calling thread.
 *
 * @param path Of the file.
 * @returns What it holds; dispose of it when done (`using`).
 * @throws {EngineError} When there is no such file, or it is damaged or something else; the message says
 *   what was expected.
 */
export function readSnapshot(path: string): Snapshot {
  if (typeof path !== "string" || path === "") {
    throw new TypeError(`Expected the path of a saved session, but found ${found(path)}`);
  }
  return new Snapshot(new SnapshotFile(path));
}
