/**
 * Accounts for the bytes of a session's KV cache.
 *
 * @module
 */
import { KvInfoLayout } from "../ffi/symbols.gen.ts";
import type { KvFormat } from "../kv_format.ts";
import type { KvBytes, KvLedger } from "../kv_ledger.ts";
import { kvBits, kvLayouts } from "./kv_layout.ts";
import type { SessionCore } from "./session_core.ts";

/** The ledger of the cache as it is now. */
export function kvLedger(core: SessionCore): KvLedger {
  const info = core.kvInfo();
  const number = (offset: number) => info.getUint32(offset, true);
  const { keyFormat, valueFormat } = core.settings;
  const layers = number(KvInfoLayout.layers);
  const heads = number(KvInfoLayout.kv_heads);
  const positions = number(KvInfoLayout.positions);
  const keyLength = number(KvInfoLayout.key_length);
  const valueLength = number(KvInfoLayout.value_length);
  const pageLength = number(KvInfoLayout.page_length);
  const pagesUsed = number(KvInfoLayout.pages_used);
  const [keyPayload, keyScales] = sizes(keyFormat, heads * keyLength);
  const [valuePayload, valueScales] = sizes(valueFormat, heads * valueLength);
  // Of one token in one layer.
  const token = keyPayload + keyScales + valuePayload + valueScales;
  const layerBytes = core.kvBytes / layers;
  const layer: KvBytes = {
    bytes: layerBytes,
    keyPayload: keyPayload * positions,
    keyScales: keyScales * positions,
    valuePayload: valuePayload * positions,
    valueScales: valueScales * positions,
    pageSlack: (pagesUsed * pageLength - positions) * token,
    free: layerBytes - pagesUsed * pageLength * token,
  };
  const all = Object.fromEntries(
    Object.entries(layer).map(([name, bytes]) => [name, bytes * layers]),
  ) as unknown as KvBytes;
  return {
    ...all,
    shared: number(KvInfoLayout.pages_shared) * pageLength * token * layers,
    keyBits: kvBits(keyFormat),
    valueBits: kvBits(valueFormat),
    layers: Array.from({ length: layers }, () => layer),
  };
}

/** Bytes of the codes and of the scales of so many values. */
function sizes(format: KvFormat, values: number): [payload: number, scales: number] {
  const { codeBytes, unit, scaleBytes } = kvLayouts[format];
  return [values * codeBytes, values / unit * scaleBytes];
}
