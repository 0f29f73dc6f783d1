/**
 * A native pool of pages below its public face.
 *
 * @module
 */
import { EngineError } from "../engine_error.ts";
import { check, statusError } from "../ffi/library.ts";
import {
  CacheFormatId,
  PoolInfoLayout,
  PoolOptionsLayout,
  WhenFullId,
} from "../ffi/symbols.gen.ts";
import type { KvPoolStats } from "../kv_pool_stats.ts";
import type { KvTable } from "./kv_table.ts";
import { guard, unguard } from "./leak_net.ts";
import type { ModelCore } from "./model_core.ts";

/** Checked pool options. */
export interface PoolSettings {
  /** 0: as many as fit into `bytes`. */
  readonly pages: number;
  readonly bytes: number;
  readonly kv: KvTable;
  readonly whenFull: "error" | "wait" | "evict";
}

export class PoolCore {
  readonly model: ModelCore;
  readonly kv: KvTable;
  #handle: number;

  /** Makes a native pool. */
  static create(model: ModelCore, settings: PoolSettings): PoolCore {
    const { library } = model;
    const options = packOptions(settings);
    const formats = settings.kv.ids();
    const out = new Uint32Array(1);
    const status = library.calls.vitrine_pool_create(
      model.handle,
      options,
      options.length,
      formats ?? null,
      formats?.length ?? 0,
      out,
    );
    const handle = out[0] ?? 0;
    if (status !== 0) {
      const error = statusError(library, status, handle);
      library.calls.vitrine_pool_destroy(handle);
      throw error;
    }
    return new PoolCore(model, settings.kv, handle);
  }

  private constructor(model: ModelCore, kv: KvTable, handle: number) {
    this.model = model;
    this.kv = kv;
    this.#handle = handle;
    model.retain();
    guard(this, () => release(model, handle));
  }

  /** The native handle; throws after the pool is gone. */
  get handle(): number {
    if (this.#handle === 0) {
      throw new EngineError(
        "disposed",
        "Expected a pool that is still open, but it was disposed of",
      );
    }
    return this.#handle;
  }

  get disposed(): boolean {
    return this.#handle === 0;
  }

  stats(): KvPoolStats {
    const at = PoolInfoLayout;
    const { library } = this.model;
    const view = new DataView(new ArrayBuffer(at.bytes));
    const bytes = new Uint8Array(view.buffer);
    check(library, library.calls.vitrine_pool_info(this.handle, bytes, bytes.length), this.handle);
    const count = (offset: number) => view.getUint32(offset, true);
    const [pages, used] = [count(at.page_count), count(at.pages_used)];
    return {
      pageLength: count(at.page_length),
      pageBytes: view.getFloat64(at.page_bytes, true),
      pages,
      used,
      shared: count(at.pages_shared),
      free: pages - used,
      kept: count(at.pages_kept),
      sequences: count(at.sequences),
      hits: view.getFloat64(at.found, true),
      evicted: view.getFloat64(at.evicted, true),
    };
  }

  dispose(): void {
    if (this.#handle === 0) return;
    unguard(this);
    release(this.model, this.#handle);
    this.#handle = 0;
  }
}

function release(model: ModelCore, handle: number): void {
  model.library.calls.vitrine_pool_destroy(handle);
  model.release();
}

function packOptions(settings: PoolSettings): Uint8Array<ArrayBuffer> {
  const at = PoolOptionsLayout;
  const view = new DataView(new ArrayBuffer(at.bytes));
  const whenFull = settings.whenFull === "error" ? "fail" : settings.whenFull;
  view.setUint32(at.size, at.bytes, true);
  view.setUint32(at.version, 1, true);
  view.setUint32(at.pages, settings.pages, true);
  view.setUint32(at.when_full, WhenFullId[whenFull], true);
  view.setFloat64(at.bytes_wanted, settings.bytes, true);
  view.setUint32(at.key_format, CacheFormatId[settings.kv.base("key")], true);
  view.setUint32(at.value_format, CacheFormatId[settings.kv.base("value")], true);
  const { windows } = settings.kv;
  view.setUint32(at.exact_format, CacheFormatId[windows.exact], true);
  view.setUint32(at.window_layers, windows.numbers().length / 2, true);
  return new Uint8Array(view.buffer);
}
