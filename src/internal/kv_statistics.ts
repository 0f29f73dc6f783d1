/**
 * Statistics of what a KV cache holds.
 *
 * @module
 */
import { KvInfoLayout } from "../ffi/symbols.gen.ts";
import type { KvFormat } from "../kv_format.ts";
import type { KvMoments, KvStatistics, KvStatisticsOptions } from "../kv_statistics.ts";
import { checkFields, checkNumber } from "./check.ts";
import { readKv } from "./read_kv.ts";
import type { SessionCore } from "./session_core.ts";

/** The largest finite number of the formats without scales; rounding goes no further in the 8-bit ones. */
const largest: Readonly<Partial<Record<KvFormat, number>>> = {
  f16: 65504,
  bf16: 2 ** 127 * (2 - 2 ** -7),
  f8_e4m3: 448,
  f8_e5m2: 57344,
};
const fields = ["which", "layer", "head", "from", "to", "view", "deviations"];
const figures = [
  ...["minimum", "maximum", "mean", "variance", "kurtosis"],
  ...["outlierShare", "saturation", "nonFinite"],
] as (keyof KvMoments)[];

/** Checks the options, reads and computes. */
export function kvStatistics(core: SessionCore, options: KvStatisticsOptions): KvStatistics {
  checkFields(options, fields, "statistics");
  const { deviations: given, ...part } = options;
  const deviations = given === undefined
    ? 3
    : checkNumber(given, (n) => n > 0, "more than 0", "deviations");
  const values = readKv(core, part);
  if (!(values instanceof Float32Array)) {
    throw new TypeError("Expected view to be decoded or unrotated, but found raw");
  }
  const isKey = part.which === "key";
  const info = core.kvInfo();
  const number = (offset: number) => info.getUint32(offset, true);
  const length = number(isKey ? KvInfoLayout.key_length : KvInfoLayout.value_length);
  const heads = part.head === undefined ? number(KvInfoLayout.kv_heads) : 1;
  const positions = values.length / heads / length;
  const formats = core.settings.kv.formats(part.which, part.layer);
  const of = (set: Float32Array, first: number, step: number, head: number) => {
    const format = formats[(part.head ?? 0) + head] as KvFormat;
    // A key before its rotation is no stored number.
    const limit = part.view === "unrotated" ? undefined : largest[format];
    return moments(set, first, step, deviations, limit ?? Infinity);
  };

  const channels = Object.fromEntries(
    figures.map((figure) => [figure, new Float64Array(heads * length)]),
  ) as Record<keyof KvMoments, Float64Array<ArrayBuffer>>;
  const perHead = Array.from({ length: heads }, (_, head) => {
    const own = values.subarray(head * positions * length, (head + 1) * positions * length);
    for (let channel = 0; channel < length; channel++) {
      const found = of(own, channel, length, head);
      for (const figure of figures) channels[figure][head * length + channel] = found[figure];
    }
    return of(own, 0, 1, head);
  });
  // Heads may be stored differently: what is the largest number of one is none of the other.
  const saturation = perHead.reduce((sum, row) => sum + row.saturation, 0) / heads;
  return { positions, whole: { ...of(values, 0, 1, 0), saturation }, heads: perHead, channels };
}

/** Of every `step`th number from `first` on. Three passes: the mean, the moments, the outliers. */
function moments(
  values: Float32Array,
  first: number,
  step: number,
  deviations: number,
  limit: number,
): KvMoments {
  let [minimum, maximum, sum, finite, saturated, total] = [Infinity, -Infinity, 0, 0, 0, 0];
  for (let i = first; i < values.length; i += step) {
    const x = values[i] as number;
    total++;
    if (Math.abs(x) >= limit) saturated++;
    if (!Number.isFinite(x)) continue;
    finite++;
    sum += x;
    if (x < minimum) minimum = x;
    if (x > maximum) maximum = x;
  }
  if (finite === 0) [minimum, maximum] = [NaN, NaN];
  const mean = sum / finite;
  let [second, fourth] = [0, 0];
  for (let i = first; i < values.length; i += step) {
    const x = values[i] as number;
    if (!Number.isFinite(x)) continue;
    const square = (x - mean) ** 2;
    second += square;
    fourth += square * square;
  }
  const variance = second / finite;
  const bound = deviations * Math.sqrt(variance);
  let outliers = 0;
  for (let i = first; i < values.length; i += step) {
    const x = values[i] as number;
    if (Number.isFinite(x) && Math.abs(x - mean) > bound) outliers++;
  }
  return {
    minimum,
    maximum,
    mean,
    variance,
    kurtosis: fourth / finite / variance ** 2,
    outlierShare: outliers / finite,
    saturation: saturated / total,
    nonFinite: (total - finite) / total,
  };
}
