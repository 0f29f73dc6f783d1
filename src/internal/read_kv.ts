/**
 * Reads the KV cache of a session.
 *
 * @module
 */
import { KvInfoLayout, KvPartLayout, KvSideId, KvViewId } from "../ffi/symbols.gen.ts";
import type { KvFormat } from "../kv_format.ts";
import type { KvPart, KvRaw, KvView } from "../kv_part.ts";
import { checkChoice, checkFields, checkInteger, checkSide } from "./check.ts";
import { keyGroup, kvLayouts, kvMinimumBytes, kvScales, outlierCount } from "./kv_layout.ts";
import type { SessionCore } from "./session_core.ts";

const allHeads = 0xffff_ffff;

/** How the codes of each format are shown. */
const codeArrays: Readonly<
  Record<KvFormat, (values: number) => KvRaw["codes"]>
> = {
  f32: (values) => new Float32Array(values),
  f16: (values) => new Uint16Array(values),
  bf16: (values) => new Uint16Array(values),
  q8_0: (values) => new Int8Array(values),
  int8: (values) => new Int8Array(values),
  f8_e4m3: (values) => new Uint8Array(values),
  f8_e5m2: (values) => new Uint8Array(values),
  q5_1: (values) => new Uint8Array(values),
  q5_0: (values) => new Uint8Array(values),
  q4_1: (values) => new Uint8Array(values),
  q4_0: (values) => new Uint8Array(values),
  iq4_nl: (values) => new Uint8Array(values),
  nvfp4: (values) => new Uint8Array(values),
  mxfp4: (values) => new Uint8Array(values),
  int8_channel: (values) => new Uint8Array(values),
  int4: (values) => new Uint8Array(values),
  int2: (values) => new Uint8Array(values),
};

/** Checks the part and copies it. */
export function readKv(
  core: SessionCore,
  part: KvPart & { readonly view?: KvView | undefined },
): Float32Array<ArrayBuffer> | KvRaw {
  checkFields(part, ["which", "layer", "head", "from", "to", "view"], "read");
  core.requireIdle();
  const info = core.kvInfo();
  const number = (offset: number) => info.getUint32(offset, true);
  const which = checkSide(part.which);
  const view = checkChoice(part.view, ["decoded", "unrotated", "raw"], "view") ?? "decoded";
  const layers = number(KvInfoLayout.layers);
  const heads = number(KvInfoLayout.kv_heads);
  const layer = checkInteger(part.layer, 0, layers - 1, "layer");
  const head = part.head === undefined ? allHeads : checkInteger(part.head, 0, heads - 1, "head");
  const positions = number(KvInfoLayout.positions);
  // Keys that are not in a whole group yet have no codes.
  const stored = core.settings.kv.stored(which, layer, head === allHeads ? 0 : head);
  const { format } = stored;
  const tokens = which === "key" ? keyGroup(stored) : 1;
  const whole = view === "raw" ? Math.floor(positions / tokens) * tokens : positions;
  const to = part.to === undefined ? whole : checkInteger(part.to, 0, positions, "to");
  const from = part.from === undefined ? 0 : checkInteger(part.from, 0, to, "from");
  const length = number(which === "key" ? KvInfoLayout.key_length : KvInfoLayout.value_length);
  const rows = (head === allHeads ? heads : 1) * (to - from);

  function copy<T extends ArrayBufferView<ArrayBuffer>>(id: number, into: T): T {
    const options = new DataView(new ArrayBuffer(KvPartLayout.bytes));
    const set = (offset: number, value: number) => options.setUint32(offset, value, true);
    set(KvPartLayout.size, KvPartLayout.bytes);
    set(KvPartLayout.version, 1);
    set(KvPartLayout.side, KvSideId[which]);
    set(KvPartLayout.view, id);
    set(KvPartLayout.layer, layer);
    set(KvPartLayout.head, head);
    set(KvPartLayout.from, from);
    set(KvPartLayout.to, to);
    const given = new Uint8Array(options.buffer);
    const bytes = new Uint8Array(into.buffer);
    const { vitrine_kv_read } = core.model.library.calls;
    core.check(vitrine_kv_read(core.handle, given, given.length, bytes, bytes.length));
    return into;
  }

  if (view !== "raw") return copy(KvViewId[view], new Float32Array(rows * length));
  // Where heads differ, the engine refuses to copy them all.
  const codes = copy(KvViewId.codes, codeArrays[format](rows * length));
  const { scaleBytes } = kvLayouts[format];
  const count = rows * kvScales(stored, length);
  const kept = rows / tokens * outlierCount(stored, length);
  const filled = <T extends ArrayBufferView<ArrayBuffer>>(id: number, into: T) =>
    into.byteLength === 0 ? into : copy(id, into);
  return {
    codes,
    scales: scaleBytes === 1
      ? filled(KvViewId.scales, new Uint8Array(count))
      : filled(KvViewId.scales, new Uint16Array(scaleBytes === 0 ? 0 : count)),
    minimums: filled(
      KvViewId.minimums,
      new Uint16Array(kvMinimumBytes(stored) === 0 ? 0 : count),
    ),
    outliers: filled(KvViewId.outliers, new Uint16Array(2 * kept)),
  };
}
