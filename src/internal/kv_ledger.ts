/**
 * Accounts for the bytes of a session's KV cache.
 *
 * @module
 */
import { KvInfoLayout } from "../ffi/symbols.gen.ts";
import type { KvFormat } from "../kv_format.ts";
import type { KvBytes, KvLedger } from "../kv_ledger.ts";
import { kvLayouts, kvTermBytes } from "./kv_layout.ts";
import type { SessionCore } from "./session_core.ts";

/** The ledger of the cache as it is now. */
export function kvLedger(core: SessionCore): KvLedger {
  const info = core.kvInfo();
  const number = (offset: number) => info.getUint32(offset, true);
  const table = core.settings.kv;
  const { keyLength, valueLength } = table.shape;
  const positions = number(KvInfoLayout.positions);
  const pageLength = number(KvInfoLayout.page_length);
  const [pages, used] = [number(KvInfoLayout.page_count), number(KvInfoLayout.pages_used)];
  const layers = Array.from({ length: table.shape.layers }, (_, layer): KvBytes => {
    const keys = sizes(table.formats("key", layer), keyLength);
    const values = sizes(table.formats("value", layer), valueLength);
    const token = keys.payload + keys.scales + values.payload + values.scales;
    return {
      bytes: pages * pageLength * token,
      keyPayload: keys.payload * positions,
      keyScales: keys.scales * positions,
      valuePayload: values.payload * positions,
      valueScales: values.scales * positions,
      pageSlack: (used * pageLength - positions) * token,
      free: (pages - used) * pageLength * token,
    };
  });
  const sum = (part: keyof KvBytes) => layers.reduce((bytes, layer) => bytes + layer[part], 0);
  return {
    bytes: sum("bytes"),
    keyPayload: sum("keyPayload"),
    keyScales: sum("keyScales"),
    valuePayload: sum("valuePayload"),
    valueScales: sum("valueScales"),
    pageSlack: sum("pageSlack"),
    free: sum("free"),
    shared: sum("bytes") / pages * number(KvInfoLayout.pages_shared),
    keyBits: table.bits("key"),
    valueBits: table.bits("value"),
    layers,
  };
}

/** Bytes that the heads of one token take in a layer. */
function sizes(
  formats: readonly KvFormat[],
  length: number,
): { readonly payload: number; readonly scales: number } {
  let [payload, scales] = [0, 0];
  for (const format of formats) {
    payload += length * kvLayouts[format].codeBits / 8;
    scales += kvTermBytes(format, length);
  }
  return { payload, scales };
}
