import { checkChoice, checkFields, checkInteger, checkNumber } from "./internal/check.ts";
import { eventCapacity, EventSource } from "./internal/event_source.ts";
import { cacheShapeOf, KvTable } from "./internal/kv_table.ts";
import type { ModelCore } from "./internal/model_core.ts";
import { PoolCore } from "./internal/pool_core.ts";
import { KvEvents } from "./kv_events.ts";
import type { KvPolicy } from "./kv_policy.ts";
import type { KvPoolOptions } from "./kv_pool_options.ts";
import type { KvPoolStats } from "./kv_pool_stats.ts";
import { type Session, sessionFrom } from "./session.ts";
import type { SessionOptions } from "./session_options.ts";

/**
 * Pages of a KV cache that many sessions share, and no more of them. `Model.kvPool` makes one.
 *
 * A session takes pages as it needs them, not all that its context may come to need. One whose tokens begin
 * like those of another of the same pool takes its full pages instead of computing them: they are found by a
 * hash and compared token by token, and every result has the same bits as without. Pages that nobody holds
 * any more stay for that until they are needed. A session with hooks, recordings or a simulated cache neither
 * takes such pages nor offers its own.
 *
 * @example
 * ```ts
 * import { EngineError, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using pool = model.kvPool({ pages: 8, kv: { key: "q8_0", value: "q8_0" } });
 * const preface = "A lighthouse keeper writes a diary. ".repeat(12);
 * using one = pool.session();
 * await one.prefill(preface + "Monday:");
 * using two = pool.session({ context: 8192 }); // longer than the pool
 * await two.prefill(preface + "Tuesday:"); // computes what is different
 * console.log(two.stats.reusedTokens, pool.stats.shared);
 *
 * try {
 *   await two.prefill(preface.repeat(10));
 * } catch (error) {
 *   if (!(error instanceof EngineError)) throw error;
 *   console.log(error.code, two.position); // "pool-full", and nothing is lost
 * }
 * ```
 */
export class KvPool {
  /** Memory of all pages, in bytes. It is set aside when the pool is made, and taken when it is used. */
  readonly bytes: number;
  /** What the pool was made with, with the defaults filled in. */
  readonly policy: KvPolicy;
  readonly #core: PoolCore;

  /** Only `Model.kvPool` makes pools. */
  constructor(core: PoolCore) {
    this.#core = core;
    this.policy = core.kv.policy;
    const { pageBytes, pages } = core.stats();
    this.bytes = pageBytes * pages;
  }

  /**
   * Begins a sequence of tokens that takes its pages from the pool.
   *
   * @param options As in `Model.session`, but for the formats, which are the pool's. The context may be
   *   longer than the pool.
   * @returns The session; dispose of it when done (`using`). It may outlive the pool's handle.
   */
  session(options: Omit<SessionOptions, "kv"> = {}): Session {
    return sessionFrom(this.#core, options);
  }

  /** What the pool has now, and who holds it. */
  get stats(): KvPoolStats {
    return this.#core.stats();
  }

  /**
   * Follows what happens to the pages, until what is returned is disposed of.
   *
   * @param options How many events are kept until they are read, the youngest; 65,536 unless it is said.
   * @throws {EngineError} `"busy"` when another reader follows them.
   */
  events(options: { readonly capacity?: number | undefined } = {}): KvEvents {
    const core = this.#core;
    const holder = {
      library: core.model.library,
      get disposed() {
        return core.disposed;
      },
      get handle() {
        return core.handle;
      },
    };
    return new KvEvents(new EventSource(holder), eventCapacity(options));
  }

  /** Gives the pool back; again is harmless. Its sessions go on, and the memory goes with the last one. */
  dispose(): void {
    this.#core.dispose();
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Checks the options and makes a pool; `Model.kvPool` calls it. */
export function createPool(model: ModelCore, options: KvPoolOptions): KvPool {
  checkFields(options, ["pages", "bytes", "kv", "whenFull"], "kvPool");
  const { pages, bytes } = options;
  if ((pages === undefined) === (bytes === undefined)) {
    const found = pages === undefined ? "neither" : "both";
    throw new TypeError(`Expected either pages or bytes of a pool, but found ${found}`);
  }
  const kv = new KvTable(options.kv, cacheShapeOf(model.info), "kv");
  const whenFull = checkChoice(options.whenFull, ["error", "wait", "evict"], "whenFull");
  if (pages !== undefined) checkInteger(pages, 1, 1 << 24, "pages");
  if (bytes !== undefined) {
    const least = kv.pageBytes();
    checkNumber(bytes, (value) => value >= least, `at least a page of ${least} bytes`, "bytes");
  }
  return new KvPool(
    PoolCore.create(model, {
      pages: pages ?? 0,
      bytes: bytes ?? 0,
      kv,
      whenFull: whenFull ?? "error",
    }),
  );
}
