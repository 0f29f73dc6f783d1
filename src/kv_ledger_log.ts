import { found } from "./internal/check.ts";
import type { KvBytes } from "./kv_ledger.ts";
import { Session } from "./session.ts";

/** Ledgers over time, as columns: one row for each sequence at each time. All figures but the first four are bytes. */
export interface KvLedgerColumns {
  /** How many rows there are. */
  readonly rows: number;
  /** Index into `KvLedgerLog.names`. */
  readonly sequence: Uint32Array<ArrayBuffer>;
  /** Milliseconds since the log was begun. */
  readonly time: Float64Array<ArrayBuffer>;
  /** Positions that have keys and values. */
  readonly positions: Uint32Array<ArrayBuffer>;
  readonly bytes: Float64Array<ArrayBuffer>;
  readonly keyPayload: Float64Array<ArrayBuffer>;
  readonly keyScales: Float64Array<ArrayBuffer>;
  readonly valuePayload: Float64Array<ArrayBuffer>;
  readonly valueScales: Float64Array<ArrayBuffer>;
  readonly exact: Float64Array<ArrayBuffer>;
  readonly pageSlack: Float64Array<ArrayBuffer>;
  readonly free: Float64Array<ArrayBuffer>;
  /** Of the others' sum, those in pages that several sequences hold. */
  readonly shared: Float64Array<ArrayBuffer>;
}

/** The columns that a ledger has under the same names. */
const byteColumns = [
  ...["bytes", "keyPayload", "keyScales", "valuePayload", "valueScales"] as const,
  ...["exact", "pageSlack", "free", "shared"] as const,
] as const;

interface Row extends KvBytes {
  readonly sequence: number;
  readonly time: number;
  readonly positions: number;
  readonly shared: number;
}

/**
 * The ledgers of some sequences over time: `note` takes a row of each, whenever it is called, also while
 * they generate.
 *
 * @example
 * ```ts
 * import { KvLedgerLog, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256 });
 * await session.prefill("The lighthouse at the end of the world");
 * using fork = session.fork();
 * const log = new KvLedgerLog({ trunk: session, branch: fork });
 * for await (const _step of fork.generate("", { maxTokens: 8, ignoreEnd: true })) log.note();
 * const { rows, sequence, positions, shared } = log.columns();
 * for (let row = 0; row < rows; row++) {
 *   console.log(log.names[sequence[row]!], positions[row], shared[row]);
 * }
 * ```
 */
export class KvLedgerLog {
  /** Of the sequences. */
  readonly names: readonly string[];
  readonly #sessions: readonly Session[];
  readonly #begun = performance.now();
  readonly #rows: Row[] = [];

  /**
   * @param sessions The sequences, by names of your own.
   * @throws {TypeError} When they are no sessions.
   */
  constructor(sessions: Readonly<Record<string, Session>>) {
    const all = typeof sessions === "object" && sessions !== null ? Object.values(sessions) : [];
    if (all.length === 0 || !all.every((session) => session instanceof Session)) {
      throw new TypeError(`Expected sessions by names, but found ${found(sessions)}`);
    }
    this.names = Object.keys(sessions);
    this.#sessions = all;
  }

  /**
   * Takes a row of each sequence.
   *
   * @throws {EngineError} `"disposed"` when one of them is gone; then no row was taken.
   */
  note(): void {
    const time = performance.now() - this.#begun;
    this.#rows.push(
      ...this.#sessions.map(({ kv }, sequence): Row => ({
        ...kv.ledger(),
        sequence,
        time,
        positions: kv.positions,
      })),
    );
  }

  /** All rows so far, in the order in which they were taken. */
  columns(): KvLedgerColumns {
    const all = this.#rows;
    const bytes = byteColumns.map((name) => [name, Float64Array.from(all, (row) => row[name])]);
    return {
      rows: all.length,
      sequence: Uint32Array.from(all, (row) => row.sequence),
      time: Float64Array.from(all, (row) => row.time),
      positions: Uint32Array.from(all, (row) => row.positions),
      ...Object.fromEntries(bytes) as Pick<KvLedgerColumns, typeof byteColumns[number]>,
    };
  }
}
