/**
 * How much attention recorded queries pay to what the cache holds.
 *
 * @module
 */
import type { Activation } from "../activation.ts";
import type { AttentionOptions, AttentionRows } from "../attention_rows.ts";
import { KvQueriesLayout } from "../ffi/symbols.gen.ts";
import { checkFields, checkInteger, found } from "./check.ts";
import type { SessionCore } from "./session_core.ts";

const allHeads = 0xffff_ffff;

/** Checks the queries and computes. */
export function kvAttention(
  core: SessionCore,
  queries: Activation,
  options: AttentionOptions,
): AttentionRows {
  checkFields(options, ["head", "from", "to"], "attention");
  core.requireIdle();
  const { heads, keyLength } = core.model.info;
  const width = heads * keyLength;
  const { name, layer, position, rows, values } = queries ?? {};
  if (typeof name !== "string" || !name.endsWith(".q") || layer === undefined) {
    throw new TypeError(
      `Expected queries as a hook or a recording at blocks.N.q shows them, but found ${
        found(name ?? queries)
      }`,
    );
  }
  if (
    queries.width !== width || !(values instanceof Float32Array) || values.length !== rows * width
  ) {
    throw new RangeError(
      `Expected ${rows} queries of ${heads} heads of ${keyLength} values, but found ` +
        `${(values as Float32Array | undefined)?.length} values in rows of ${queries.width}`,
    );
  }
  const head = options.head === undefined
    ? allHeads
    : checkInteger(options.head, 0, heads - 1, "head");
  const end = position + rows;
  const to = options.to === undefined ? end : checkInteger(options.to, position + 1, end, "to");
  const from = options.from === undefined
    ? position
    : checkInteger(options.from, position, to - 1, "from");
  const count = head === allHeads ? heads : 1;
  const chosen = new Float32Array((to - from) * count * keyLength);
  for (let row = 0; row < to - from; row++) {
    const at = (from - position + row) * width + (head === allHeads ? 0 : head * keyLength);
    const one = values.subarray(at, at + count * keyLength);
    chosen.set(one, row * count * keyLength);
  }
  const weights = new Float32Array((to - from) * count * to);
  const view = new DataView(new ArrayBuffer(KvQueriesLayout.bytes));
  const set = (offset: number, value: number) => view.setUint32(offset, value, true);
  set(KvQueriesLayout.size, KvQueriesLayout.bytes);
  set(KvQueriesLayout.version, 1);
  set(KvQueriesLayout.layer, layer);
  set(KvQueriesLayout.position, from);
  set(KvQueriesLayout.rows, to - from);
  set(KvQueriesLayout.head, head);
  set(KvQueriesLayout.count, chosen.length);
  const given = new Uint8Array(view.buffer);
  const { vitrine_kv_attention } = core.model.library.calls;
  core.check(
    vitrine_kv_attention(core.handle, given, given.length, chosen, weights, weights.length),
  );
  return {
    layer,
    position: from,
    rows: to - from,
    head: head === allHeads ? 0 : head,
    heads: count,
    positions: to,
    weights,
  };
}
