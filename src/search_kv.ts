import { compareKv } from "./compare_kv.ts";
import { checkFields, checkFunction, checkNumber, found } from "./internal/check.ts";
import { kvBits, kvLayouts } from "./internal/kv_layout.ts";
import { narrowing, policyOf, unitsOf } from "./internal/kv_path.ts";
import { cacheShapeOf, KvTable } from "./internal/kv_table.ts";
import { type KvFormat, kvFormats } from "./kv_format.ts";
import type { KvPolicy } from "./kv_policy.ts";
import type { Model } from "./model.ts";

/** What `searchKv` looks for. */
export interface SearchKvOptions {
  /**
   * What the cache may cost: a mean KL divergence in nats a token, for which the smallest cache is
   * looked for, or bytes of a cache for `context` tokens, for which the nearest one is.
   */
  readonly budget: { readonly kl: number } | { readonly bytes: number };
  /**
   * Formats to choose from, at least two of `kvFormats`, which round token by token; by default `"f16"`, `"q8_0"` and `"f8_e4m3"`, as far as
   * the model's heads fit them.
   */
  readonly formats?: readonly KvFormat[] | undefined;
  /** What predictions are compared with; by default keys and values in `"f32"`. */
  readonly reference?: KvPolicy | undefined;
  /** As in `compareKv`. */
  readonly context?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told how many of the caches have been measured; `total` may grow by a few at the end. */
  readonly onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** Keys or values of one layer: what a search chooses a format for. */
export interface KvUnit {
  readonly layer: number;
  readonly which: "key" | "value";
}

/** What it costs to keep one unit, and nothing else, in a narrower format. */
export interface KvCost extends KvUnit {
  readonly format: KvFormat;
  /** Mean KL divergence from the reference, in nats a token. */
  readonly kl: number;
}

/** A measured cache. */
export interface KvPoint {
  readonly policy: KvPolicy;
  /** Bytes of a cache for the context of the search. */
  readonly bytes: number;
  readonly bitsPerValue: number;
  /** Mean KL divergence from the reference, in nats a token. */
  readonly kl: number;
  /** Share of the tokens at which both find the same token most probable. */
  readonly sameTop: number;
}

/** What `searchKv` found. */
export interface KvSearch {
  /** The cache within the budget: the smallest for one of KL, the nearest for one of bytes. */
  readonly best: KvPoint;
  /** From large to small: the measured caches that no other one beats in bytes and in KL. */
  readonly frontier: readonly KvPoint[];
  /** All measured caches but those of single layers; the ones of one format throughout come first. */
  readonly points: readonly KvPoint[];
  /** What each layer's keys and values cost when only they are narrower than the widest format. */
  readonly sensitivity: readonly KvCost[];
}

const formatsDefault: readonly KvFormat[] = ["f16", "q8_0", "f8_e4m3"];
/** Caches that read the text together: as many as memory surely has room for. */
const groupSize = 8;
/** Places of the way that are measured before the search closes in on the budget. */
const stops = 9;
const fields = ["budget", "formats", "reference", "context", "signal", "onProgress"];

/**
 * Looks for a cache policy: which layers' keys and values can do with fewer bits. Each is narrowed
 * alone and what that costs is measured; then those that cost least for the bits they save give them
 * up first, and the caches on that way are measured as a whole.
 *
 * @param model The model; load it with `precision: "float"` as for `compareKv`.
 * @param text Text, or ids of tokens; at least two. What is found holds for texts like it.
 * @param options The budget.
 * @throws {RangeError} When no cache of these formats is within the budget.
 *
 * @example
 * ```ts
 * import { loadModel, searchKv } from "./mod.ts";
 *
 * using model = await loadModel("smollm2", { precision: "float" });
 * const text = "It was the best of times, it was the worst of times.";
 * const formats = ["f16", "q8_0"] as const;
 * const { best, frontier } = await searchKv(model, text, { budget: { kl: 0.01 }, formats });
 * console.log(JSON.stringify(best.policy));
 * for (const { bitsPerValue, kl } of frontier) console.log(bitsPerValue, kl);
 * ```
 */
export async function searchKv(
  model: Model,
  text: string | readonly number[] | Uint32Array,
  options: SearchKvOptions,
): Promise<KvSearch> {
  checkFields(options, fields, "searchKv");
  checkFunction(options.onProgress, "onProgress");
  const budget = checkBudget(options.budget);
  const shape = cacheShapeOf(model.info);
  const formats = checkFormats(options.formats, model);
  const widest = formats[0] as KvFormat;
  const units = unitsOf(shape.layers);
  const { keyLength, valueLength } = model.info;
  const bitsOf = ({ which }: KvUnit, format: KvFormat) =>
    kvBits(format, which === "key" ? keyLength : valueLength);
  const asPolicy = (chosen: readonly KvFormat[]) => policyOf(units, chosen, shape);

  let [done, total] = [0, units.length * (formats.length - 1) + formats.length];
  const measure = async (policies: readonly KvPolicy[]): Promise<KvPoint[]> => {
    const points: KvPoint[] = [];
    for (let from = 0; from < policies.length; from += groupSize) {
      const candidates = policies.slice(from, from + groupSize);
      const { reference, context, signal } = options;
      const compared = await compareKv(model, text, {
        ...{ reference, candidates, context, signal },
        speedTokens: 0,
        attentionError: false,
      });
      for (const [i, { bitsPerValue, kl, sameTop }] of compared.candidates.entries()) {
        const policy = candidates[i] as KvPolicy;
        const bytes = new KvTable(policy, shape, "kv").bytes(compared.context);
        points.push({ policy, bytes, bitsPerValue, kl: kl.mean, sameTop });
      }
      done += candidates.length;
      total = Math.max(total, done);
      options.onProgress?.({ done, total });
    }
    return points;
  };

  const points = await measure(formats.map((format) => asPolicy(units.map(() => format))));
  const base = (points[0] as KvPoint).kl;
  expectReachable(budget, points);
  const trials = formats.slice(1).flatMap((format) => units.map((unit) => ({ ...unit, format })));
  const narrowed = await measure(
    trials.map(({ layer, which, format }) =>
      asPolicy(units.map((unit) => unit.layer === layer && unit.which === which ? format : widest))
    ),
  );
  const sensitivity = trials.map((trial, i) => ({ ...trial, kl: (narrowed[i] as KvPoint).kl }));
  const path = narrowing(units, widest, base, sensitivity, bitsOf);
  points.push(...await followPath(path.map(asPolicy), budget, measure));
  return {
    best: bestOf(points, budget) as KvPoint,
    frontier: frontierOf(points),
    points,
    sensitivity,
  };
}

/** A budget; what isn't limited is infinite. */
interface Budget {
  readonly kl: number;
  readonly bytes: number;
}

function checkBudget(given: SearchKvOptions["budget"]): Budget {
  checkFields(given, ["kl", "bytes"], "searchKv (budget)");
  const { kl, bytes } = given as Partial<Budget>;
  if ((kl === undefined) === (bytes === undefined)) {
    throw new TypeError(
      `Expected budget to have kl or bytes, but found ${kl === undefined ? "neither" : "both"}`,
    );
  }
  const check = (value: number | undefined, what: string) =>
    value === undefined ? Infinity : checkNumber(value, (x) => x > 0, "more than 0", what);
  return { kl: check(kl, "budget.kl"), bytes: check(bytes, "budget.bytes") };
}

/** The formats, the widest first. */
function checkFormats(given: readonly KvFormat[] | undefined, { info }: Model): KvFormat[] {
  const fits = (format: KvFormat) =>
    info.keyLength % kvLayouts[format].unit === 0 &&
    info.valueLength % kvLayouts[format].unit === 0;
  const list: unknown = given ?? formatsDefault.filter(fits);
  if (!Array.isArray(list) || !list.every((name) => kvFormats.includes(name))) {
    throw new TypeError(
      `Expected formats to be an array of ${kvFormats.join(", ")}, but found ${
        Array.isArray(list) ? list.map(found).join(", ") : found(list)
      }`,
    );
  }
  const bits = (format: KvFormat) => kvBits(format, info.keyLength);
  const formats = [...new Set(list as KvFormat[])].sort((a, b) => bits(b) - bits(a));
  const [first, last] = [formats[0], formats.at(-1)];
  if (first === undefined || last === undefined || bits(first) === bits(last)) {
    throw new RangeError(
      `Expected formats of at least two widths, but found ${formats.join(", ") || "none"}`,
    );
  }
  return formats;
}

function within(point: KvPoint, budget: Budget): boolean {
  return point.kl <= budget.kl && point.bytes <= budget.bytes;
}

/** The smallest cache within a budget of KL, the nearest within one of bytes. */
function bestOf(points: readonly KvPoint[], budget: Budget): KvPoint | undefined {
  const order: keyof KvPoint & ("kl" | "bytes") = budget.kl < Infinity ? "bytes" : "kl";
  const fitting = points.filter((point) => within(point, budget));
  return fitting.reduce<KvPoint | undefined>(
    (best, point) => best === undefined || point[order] < best[order] ? point : best,
    undefined,
  );
}

function expectReachable(budget: Budget, points: readonly KvPoint[]): void {
  const least = (figure: "kl" | "bytes") =>
    points.reduce((best, point) => point[figure] < best[figure] ? point : best);
  for (const figure of ["kl", "bytes"] as const) {
    const { policy, [figure]: value } = least(figure);
    if (value > budget[figure]) {
      throw new RangeError(
        `Expected a budget of ${value} (${policy.key}) or more for ${figure}, but found ${
          budget[figure]
        }`,
      );
    }
  }
}

/** Measures places of the way, then more of them where it leaves the budget. */
async function followPath(
  path: readonly KvPolicy[],
  budget: Budget,
  measure: (policies: readonly KvPolicy[]) => Promise<KvPoint[]>,
): Promise<KvPoint[]> {
  const found = new Map<number, KvPoint>();
  const look = async (places: readonly number[]) => {
    const fresh = [...new Set(places)].filter((place) => !found.has(place));
    const points = await measure(fresh.map((place) => path[place] as KvPolicy));
    for (const [i, point] of points.entries()) found.set(fresh[i] as number, point);
  };
  const spread = (from: number, to: number) =>
    Array.from(
      { length: Math.min(stops, to - from + 1) },
      (_, i, all = Math.min(stops, to - from + 1)) =>
        Math.round(from + (to - from) * i / Math.max(1, all - 1)),
    );
  let [from, to] = [0, path.length - 1];
  for (;;) {
    await look(spread(from, to));
    // Along the way bytes go down, and KL goes up but for noise.
    const inside = (place: number) => {
      const point = found.get(place) as KvPoint;
      return budget.kl < Infinity ? point.kl <= budget.kl : point.bytes > budget.bytes;
    };
    const places = [...found.keys()].sort((a, b) => a - b);
    const last = places.findLast((place) => place < path.length - 1 && inside(place));
    const next = places.find((place) => place > (last ?? -1));
    if (last === undefined || next === undefined || next - last <= 1) break;
    [from, to] = [last, next];
  }
  return [...found].sort(([a], [b]) => a - b).map(([, point]) => point);
}

function frontierOf(points: readonly KvPoint[]): KvPoint[] {
  const beaten = (point: KvPoint) =>
    points.some((other) =>
      other.bytes <= point.bytes && other.kl <= point.kl &&
      (other.bytes < point.bytes || other.kl < point.kl)
    );
  const rest = points.filter((point) => !beaten(point));
  const same = (a: KvPoint, b: KvPoint) => a.bytes === b.bytes && a.kl === b.kl;
  return rest.filter((point, i) => rest.findIndex((other) => same(other, point)) === i)
    .sort((a, b) => b.bytes - a.bytes);
}
