import type { KvFormat } from "./kv_format.ts";

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
  /** Memory that keys and values take, in bytes. It is allocated when the session is made. */
  readonly bytes: number;
  /** Tokens that fit. */
  readonly context: number;
  /** Format of the keys. */
  readonly keyFormat: KvFormat;
  /** Format of the values. */
  readonly valueFormat: KvFormat;

  /** Only sessions make these. */
  constructor(bytes: number, context: number, keyFormat: KvFormat, valueFormat: KvFormat) {
    this.bytes = bytes;
    this.context = context;
    this.keyFormat = keyFormat;
    this.valueFormat = valueFormat;
  }
}
