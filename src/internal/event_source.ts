/**
 * The native side of a reader of page events: a session's or a pool's.
 *
 * @module
 */
import { check, type Library } from "../ffi/library.ts";
import { KvEventKind as Kinds, KvEventLayout } from "../ffi/symbols.gen.ts";
import type { KvEventColumns, KvEventKind } from "../kv_events.ts";
import { checkFields, checkInteger } from "./check.ts";

/** Whoever has a handle that the library takes events of. */
interface Holder {
  readonly library: Library;
  readonly disposed: boolean;
  readonly handle: number;
}

const capacityMax = 1 << 20;
/** Events of one call. */
const pieceMax = 4096;
const kinds: Readonly<Record<number, KvEventKind>> = Object.fromEntries(
  Object.entries(Kinds).map(([name, id]) => [id, name as KvEventKind]),
);

/** How many events are kept: the option that sessions and pools have. */
export function eventCapacity(options: { readonly capacity?: number | undefined }): number {
  checkFields(options, ["capacity"], "events");
  const { capacity } = options;
  return capacity === undefined ? 65_536 : checkInteger(capacity, 1, capacityMax, "capacity");
}

export class EventSource {
  readonly #holder: Holder;

  constructor(holder: Holder) {
    this.#holder = holder;
  }

  start(capacity: number): void {
    const { library, handle } = this.#holder;
    check(library, library.calls.vitrine_events_start(handle, capacity), handle);
  }

  end(): void {
    const { library, disposed } = this.#holder;
    if (disposed) return;
    const { handle } = this.#holder;
    check(library, library.calls.vitrine_events_start(handle, 0), handle);
  }

  take(max: number): KvEventColumns {
    const pieces: DataView[] = [];
    let [count, dropped] = [0, 0];
    while (count < max) {
      const wanted = Math.min(pieceMax, max - count);
      const piece = this.#take(wanted);
      dropped += piece.dropped;
      count += piece.count;
      pieces.push(new DataView(piece.bytes.buffer, 0, piece.count * KvEventLayout.bytes));
      if (piece.count < wanted) break;
    }
    const at = KvEventLayout;
    const all = pieces.flatMap((view) =>
      Array.from({ length: view.byteLength / at.bytes }, (_, i) => [view, i * at.bytes] as const)
    );
    const column = (offset: number) =>
      Uint32Array.from(all, ([view, from]) => view.getUint32(from + offset, true));
    return {
      count,
      dropped,
      kind: Array.from(column(at.kind), (id) => kinds[id]!),
      page: column(at.page),
      // All bits set are nobody: -1.
      sequence: new Int32Array(column(at.sequence).buffer),
      from: column(at.from),
      to: column(at.to),
      seconds: Float64Array.from(all, ([view, from]) => view.getFloat64(from + at.seconds, true)),
    };
  }

  #take(max: number): { bytes: Uint8Array<ArrayBuffer>; count: number; dropped: number } {
    const { library, handle } = this.#holder;
    const bytes = new Uint8Array(max * KvEventLayout.bytes);
    const count = new Uint32Array(1);
    const dropped = new Float64Array(1);
    const { vitrine_events_take } = library.calls;
    check(library, vitrine_events_take(handle, bytes, max, count, dropped), handle);
    return { bytes, count: count[0]!, dropped: dropped[0]! };
  }
}
