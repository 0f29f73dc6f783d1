import { checkInteger } from "./internal/check.ts";
import type { EventSource } from "./internal/event_source.ts";

/** What can happen to a page of a KV cache. */
export type KvEventKind =
  /** A sequence got a page that nobody held. */
  | "taken"
  /** A sequence holds a page now that another one holds too. */
  | "shared"
  /** A sequence got a page of its own, with the content of one that it shared and lets go of next. */
  | "copied"
  /** A sequence let go of a page that others still hold. */
  | "released"
  /** The last holder of a page let go of it. */
  | "freed"
  /**
   * What a page held was given up: that of a free page, whose sequence is -1, or that of an idle session,
   * from which the pool takes it; the session lets go of it next.
   */
  | "evicted"
  /** A sequence got a page that nobody held, for what it still contains. */
  | "reused";

/** Events in the order in which they happened, as columns. */
export interface KvEventColumns {
  /** How many there are. */
  readonly count: number;
  /** Events that were lost since the last reading, because nobody had read them: older than all of these. */
  readonly dropped: number;
  readonly kind: readonly KvEventKind[];
  /** Number of the page in its pool. */
  readonly page: Uint32Array<ArrayBuffer>;
  /** Number of the sequence, as `KvCache.sequence` has it; -1: none. */
  readonly sequence: Int32Array<ArrayBuffer>;
  /** First position that the page is for. */
  readonly from: Uint32Array<ArrayBuffer>;
  /** The position after the last one. */
  readonly to: Uint32Array<ArrayBuffer>;
  /** Seconds since the reader began. */
  readonly seconds: Float64Array<ArrayBuffer>;
}

/**
 * Follows the pages of a KV cache: of a session and its forks (`KvCache.events`), or of a pool
 * (`KvPool.events`). `using` ends it; without a reader nothing is noted. A session that was restored has other
 * pages, and needs a new reader.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256 });
 * using events = session.kv.events();
 * await session.prefill("The lighthouse at the end of the world");
 * {
 *   using fork = session.fork();
 *   await fork.prefill(" was dark"); // copies the page that both have
 * }
 * session.truncate(0);
 * const { kind, page, sequence } = events.read();
 * console.log(kind); // taken, shared, copied, released, freed, freed
 * console.log(page, sequence);
 * ```
 */
export class KvEvents {
  readonly #source: EventSource;
  #ended = false;

  /** Only sessions and pools make these. */
  constructor(source: EventSource, capacity: number) {
    source.start(capacity);
    this.#source = source;
  }

  /**
   * Takes the events that were not read yet, the oldest first. It may be called while requests run.
   *
   * @param max How many at most; all unless it is said.
   * @throws {RangeError} When the reader has ended.
   */
  read(max: number = 1 << 20): KvEventColumns {
    checkInteger(max, 0, 1 << 20, "max");
    if (this.#ended) {
      throw new RangeError("Expected a reader of events, but found one that has ended");
    }
    return this.#source.take(max);
  }

  /** Ends it; what was not read is forgotten. Again is harmless. */
  dispose(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#source.end();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
