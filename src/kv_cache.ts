import { KvInfoLayout } from "./ffi/symbols.gen.ts";
import type { SessionCore } from "./internal/session_core.ts";
import type { KvFormat } from "./kv_format.ts";
import type { KvPages } from "./kv_pages.ts";

/**
 * What the KV cache of a session is; read it from `Session.kv`.
 *
 * @example
 * ```ts
 * import { loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 1024, kv: { key: "f16", value: "f16" } });
 * console.log(session.kv.bytes);
 * ```
 */
export class KvCache {
  /**
   * Memory that keys and values of the whole context take, in bytes. It is set aside when the session
   * is made; what forks have in common counts for each of them.
   */
  readonly bytes: number;
  /** Tokens that fit. */
  readonly context: number;
  /** Format of the keys. */
  readonly keyFormat: KvFormat;
  /** Format of the values. */
  readonly valueFormat: KvFormat;

  readonly #core: SessionCore;

  /** Only sessions make these. */
  constructor(core: SessionCore) {
    this.bytes = core.kvBytes;
    this.context = core.context;
    this.keyFormat = core.settings.keyFormat;
    this.valueFormat = core.settings.valueFormat;
    this.#core = core;
  }

  /** The pages that are in use now. */
  get pages(): KvPages {
    const info = this.#core.kvInfo();
    const count = (offset: number) => info.getUint32(offset, true);
    const max = count(KvInfoLayout.page_count);
    return {
      length: count(KvInfoLayout.page_length),
      bytes: this.bytes / max,
      max,
      used: count(KvInfoLayout.pages_used),
      shared: count(KvInfoLayout.pages_shared),
    };
  }
}
