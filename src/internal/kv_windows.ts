/**
 * The tokens of a cache that are kept at full precision too: what a policy says of them, and what they take.
 *
 * @module
 */
import type { KvPolicy, KvRule, KvStored } from "../kv_policy.ts";
import type { KvSimulation } from "../kv_simulation.ts";
import { checkChoice, checkInteger } from "./check.ts";
import { kvBits, pageLength } from "./kv_layout.ts";

/** Tokens of a layer at full precision. */
export interface KvWindow {
  readonly sinks: number;
  readonly recent: number;
}

/** What policies and their rules say of them. */
export interface Windowed {
  readonly sinks?: number | undefined;
  readonly recent?: number | undefined;
  readonly exact?: "f16" | "f32" | undefined;
}

type KvSimulationRule = NonNullable<KvSimulation["rules"]>[number];

/** As long as a context can be. */
const windowMax = 1 << 20;
/** Tokens that a sequence can be shortened by without losing any of its window. */
const spare = 64;
/** Tokens of one pass where a session doesn't say otherwise. */
const chunkDefault = 256;

/** Checks the counts and copies those that are there. */
export function checkWindow(given: Windowed, what: string): Windowed {
  const { sinks, recent, exact } = given;
  const checked = checkChoice(exact, ["f16", "f32"] as const, `${what}.exact`);
  return {
    ...(sinks !== undefined && { sinks: checkInteger(sinks, 0, windowMax, `${what}.sinks`) }),
    ...(recent !== undefined && { recent: checkInteger(recent, 0, windowMax, `${what}.recent`) }),
    ...(checked !== undefined && { exact: checked }),
  };
}

/**
 * What simulated values are stored in: everything in full, beside the tokens at full precision. With those,
 * keys that are quantised before their rotary embedding are stored before it too, and what is quantised
 * behind a Hadamard rotation behind it.
 */
export function storeOf(simulation: KvSimulation): KvPolicy {
  const { sinks, recent, exact, shape } = simulation;
  const rules: readonly KvSimulationRule[] = Array.isArray(simulation.rules)
    ? simulation.rules.filter((rule) => typeof rule === "object" && rule !== null)
    : [];
  const isWindow = (rule: Windowed) => rule.sinks !== undefined || rule.recent !== undefined;
  const windowed = [simulation, ...rules].some(isWindow);
  const storedFor = (which: "key" | "value", quantiser: unknown): KvStored => ({
    format: "f32",
    ...(windowed && says(quantiser, "rotate") && { rotate: true }),
    ...(windowed && which === "key" && says(quantiser, "beforeRope") && { beforeRope: true }),
  });
  return {
    key: storedFor("key", simulation.key),
    value: storedFor("value", simulation.value),
    sinks,
    recent,
    exact,
    shape,
    rules: rules.flatMap((rule): KvRule[] => {
      const { layers, heads, which, format, sinks, recent } = rule;
      const sides = which === undefined ? ["key", "value"] as const : [which];
      return [
        ...(isWindow(rule) ? [{ layers, sinks, recent }] : []),
        ...(windowed && format !== undefined
          ? sides.map((which) => ({ layers, heads, which, format: storedFor(which, format) }))
          : []),
      ];
    }),
  };
}

function says(quantiser: unknown, option: "rotate" | "beforeRope"): boolean {
  return typeof quantiser === "object" && quantiser !== null &&
    (quantiser as { readonly [Name in typeof option]?: unknown })[option] === true;
}

/** The windows of all layers. */
export class KvWindows {
  readonly layers: readonly KvWindow[];
  readonly exact: "f16" | "f32";

  constructor(
    policy: Windowed & {
      readonly rules?:
        | readonly (Windowed & { readonly layers?: number | readonly number[] | undefined })[]
        | undefined;
    },
    layers: number,
  ) {
    const { sinks = 0, recent = 0, exact = "f16" } = policy;
    const all = Array.from({ length: layers }, () => ({ sinks, recent }));
    for (const rule of policy.rules ?? []) {
      const own = {
        ...(rule.sinks !== undefined && { sinks: rule.sinks }),
        ...(rule.recent !== undefined && { recent: rule.recent }),
      };
      const named = typeof rule.layers === "number" ? [rule.layers] : rule.layers;
      for (const layer of named ?? all.keys()) all[layer] = { ...all[layer]!, ...own };
    }
    this.layers = all;
    this.exact = exact;
  }

  /** Whether any token is kept so. */
  get any(): boolean {
    return this.layers.some(({ sinks, recent }) => sinks + recent > 0);
  }

  /** The longest of each over all layers. */
  get widest(): KvWindow {
    return {
      sinks: Math.max(...this.layers.map(({ sinks }) => sinks)),
      recent: Math.max(...this.layers.map(({ recent }) => recent)),
    };
  }

  has(layer: number): boolean {
    const { sinks, recent } = this.layers[layer]!;
    return sinks + recent > 0;
  }

  /** Whether two say the same. */
  equals(other: KvWindows): boolean {
    if (this.any && other.any && this.exact !== other.exact) return false;
    return this.layers.every(({ sinks, recent }, layer) =>
      sinks === other.layers[layer]?.sinks && recent === other.layers[layer]?.recent
    );
  }

  /** Pages that a sequence of so many pages takes at most. */
  pages(pages: number, chunk = chunkDefault): number {
    const { sinks, recent } = this.widest;
    const last = recent === 0 ? 0 : Math.ceil((recent + spare + chunk) / pageLength) + 1;
    return Math.min(pages, Math.ceil(sinks / pageLength) + last);
  }

  /** Bytes of one token at full precision in a layer whose heads have so many values together. */
  tokenBytes(layer: number, values: number): number {
    return this.has(layer) ? values * kvBits(this.exact, 1) / 8 : 0;
  }

  /** Tokens of a layer that are at full precision when there are so many. */
  count(layer: number, tokens: number): number {
    const { sinks, recent } = this.layers[layer]!;
    return Math.min(tokens, sinks + recent);
  }

  /** As the engine takes them: [layers][sinks, recent], or nothing. */
  numbers(): number[] {
    return this.any ? this.layers.flatMap(({ sinks, recent }) => [sinks, recent]) : [];
  }
}
