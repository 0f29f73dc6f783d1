/**
 * The way of a search from the widest cache to the narrowest: which layer's keys or values give up
 * bits next.
 *
 * @module
 */
import type { KvFormat } from "../kv_format.ts";
import type { KvPolicy, KvRule, KvShape } from "../kv_policy.ts";
import type { KvCost, KvUnit } from "../search_kv.ts";

/** All units, layer by layer. */
export function unitsOf(layers: number): KvUnit[] {
  return Array.from({ length: 2 * layers }, (_, i): KvUnit => ({
    layer: i >> 1,
    which: i % 2 === 0 ? "key" : "value",
  }));
}

/**
 * The formats of all units, step by step. Each step is the move that costs the least KL for a bit
 * saved, by what the moves cost alone: the greedy way along the hull of a sum of separate costs.
 * `bitsOf` says what a value takes.
 */
export function narrowing(
  units: readonly KvUnit[],
  widest: KvFormat,
  base: number,
  costs: readonly KvCost[],
  bitsOf: (unit: KvUnit, format: KvFormat) => number,
): KvFormat[][] {
  const costOf = (unit: KvUnit, format: KvFormat) =>
    costs.find((cost) =>
      cost.layer === unit.layer && cost.which === unit.which && cost.format === format
    )?.kl ?? base;
  const formats = [...new Set(costs.map(({ format }) => format))];
  let now: KvFormat[] = units.map(() => widest);
  const path = [now];
  for (;;) {
    let best: { at: number; format: KvFormat; rate: number; saved: number } | undefined;
    for (const [at, unit] of units.entries()) {
      const own = now[at] as KvFormat;
      for (const format of formats) {
        const saved = bitsOf(unit, own) - bitsOf(unit, format);
        if (saved <= 0) continue;
        const rate = (costOf(unit, format) - costOf(unit, own)) / saved;
        // Of equal ones the larger step, then the first: the order is the same in every run.
        if (
          best === undefined || rate < best.rate || (rate === best.rate && saved > best.saved)
        ) best = { at, format, rate, saved };
      }
    }
    if (best === undefined) return path;
    const { at, format } = best;
    now = now.map((own, i) => i === at ? format : own);
    path.push(now);
  }
}

/** A policy in few rules: the formats that most units have as its own, the others by layers. */
export function policyOf(
  units: readonly KvUnit[],
  formats: readonly KvFormat[],
  shape: KvShape,
): KvPolicy {
  const common = (which: KvUnit["which"]): KvFormat => {
    const counts = new Map<KvFormat, number>();
    for (const [i, unit] of units.entries()) {
      const format = formats[i] as KvFormat;
      if (unit.which === which) counts.set(format, (counts.get(format) ?? 0) + 1);
    }
    return [...counts].reduce((most, next) => next[1] > most[1] ? next : most)[0];
  };
  const [key, value] = [common("key"), common("value")];
  const layers = new Map<string, number[]>();
  for (const [i, { layer, which }] of units.entries()) {
    const format = formats[i] as KvFormat;
    if (format === (which === "key" ? key : value)) continue;
    const name = `${which} ${format}`;
    layers.set(name, [...layers.get(name) ?? [], layer]);
  }
  const rules = [...layers].map(([name, list]): KvRule => {
    const [which, format] = name.split(" ") as ["key" | "value", KvFormat];
    return { layers: list, which, format };
  });
  return {
    key,
    value,
    ...(rules.length > 0 && { rules }),
    shape: { layers: shape.layers, heads: shape.heads },
  };
}
