/**
 * Accounts for the bytes of a session's KV cache.
 *
 * @module
 */
import { KvInfoLayout } from "../ffi/symbols.gen.ts";
import type { KvBytes, KvLedger } from "../kv_ledger.ts";
import { type KvHead, kvLayouts, kvTermBytes } from "./kv_layout.ts";
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
  const exactPages = number(KvInfoLayout.exact_page_count);
  const exactUsed = number(KvInfoLayout.exact_pages_used);
  const layers = Array.from({ length: table.shape.layers }, (_, layer): KvBytes => {
    const keys = sizes(table.heads("key", layer), keyLength);
    const values = sizes(table.heads("value", layer), valueLength);
    const token = keys.payload + keys.scales + values.payload + values.scales;
    const exactToken = table.exactBytes(layer);
    const { recent, sinks } = table.windows.layers[layer]!;
    // A layer without recent tokens has only its sinks there.
    const exact = Math.min(
      number(KvInfoLayout.exact_positions),
      recent > 0 ? positions : sinks,
    ) * exactToken;
    return {
      bytes: (pages * token + exactPages * exactToken) * pageLength,
      keyPayload: keys.payload * positions,
      keyScales: keys.scales * positions,
      valuePayload: values.payload * positions,
      valueScales: values.scales * positions,
      exact,
      pageSlack: (used * pageLength - positions) * token +
        exactUsed * pageLength * exactToken - exact,
      free: ((pages - used) * token + (exactPages - exactUsed) * exactToken) * pageLength,
    };
  });
  const exactBytes = info.getFloat64(KvInfoLayout.exact_bytes, true);
  const sum = (part: keyof KvBytes) => layers.reduce((bytes, layer) => bytes + layer[part], 0);
  return {
    bytes: sum("bytes"),
    keyPayload: sum("keyPayload"),
    keyScales: sum("keyScales"),
    valuePayload: sum("valuePayload"),
    valueScales: sum("valueScales"),
    exact: sum("exact"),
    pageSlack: sum("pageSlack"),
    free: sum("free"),
    shared: (sum("bytes") - exactBytes) / pages * number(KvInfoLayout.pages_shared) +
      exactBytes / Math.max(1, exactPages) * number(KvInfoLayout.exact_pages_shared),
    keyBits: table.bits("key"),
    valueBits: table.bits("value"),
    layers,
  };
}

/** Bytes that the heads of one token take in a layer. */
function sizes(
  heads: readonly KvHead[],
  length: number,
): { readonly payload: number; readonly scales: number } {
  let [payload, scales] = [0, 0];
  for (const head of heads) {
    payload += length * kvLayouts[head.format].codeBits / 8;
    scales += kvTermBytes(head, length);
  }
  return { payload, scales };
}
