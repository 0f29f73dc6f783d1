/**
 * A cache policy laid out: the format of every layer, KV head and side.
 *
 * @module
 */
import { CacheFormatFlags, CacheFormatId } from "../ffi/symbols.gen.ts";
import { type KvFormat, kvFormats, kvGroupFormats } from "../kv_format.ts";
import type { KvPolicy, KvShape, KvStored } from "../kv_policy.ts";
import type { ModelInfo } from "../model_info.ts";
import { checkBoolean, checkChoice, checkFields, checkInteger, found } from "./check.ts";
import { channelGroup, inGroups, kvBits, pageLength } from "./kv_layout.ts";
import { checkWindow, KvWindows, type Windowed } from "./kv_windows.ts";

/** Layers, KV heads and layout of one of their rows. */
export interface KvTableShape extends KvShape {
  /** Values of one head. */
  readonly keyLength: number;
  readonly valueLength: number;
}

const sides = ["key", "value"] as const;
type Which = (typeof sides)[number];
const policyFields = ["key", "value", "rules", "shape", "sinks", "recent", "exact"];
const ruleFields = ["layers", "heads", "which", "format", "sinks", "recent"];
const allFormats = [...kvFormats, ...kvGroupFormats];
/** More than any model has. */
const countMax = 1 << 16;

/** What lays out a policy: rules about layers, KV heads, keys and values. */
interface Ruled<T> extends Windowed {
  readonly key: T;
  readonly value: T;
  readonly rules?:
    | readonly (Omit<Windowed, "exact"> & {
      readonly layers?: number | readonly number[] | undefined;
      readonly heads?: number | readonly number[] | undefined;
      readonly which?: Which | undefined;
      readonly format?: T | undefined;
    })[]
    | undefined;
  readonly shape?: KvShape | undefined;
}

/** [layers][heads][key, value]: what holds for each head. `what` names the policy in errors. */
export function layOut<T>(policy: Ruled<T>, shape: KvShape, what: string): T[] {
  const { layers, heads } = shape;
  const meant = policy.shape ?? shape;
  if (meant.layers !== layers || meant.heads !== heads) {
    throw new RangeError(
      `Expected ${what} for a model of ${layers} layers of ${heads} KV heads, but found one for ` +
        `${meant.layers} layers of ${meant.heads}`,
    );
  }
  const laid = Array.from({ length: layers * heads * 2 }, (_, i) => policy[sides[i % 2] as Which]);
  for (const [i, rule] of (policy.rules ?? []).entries()) {
    const name = `${what}.rules[${i}]`;
    for (const layer of places(rule.layers, layers, `${name}.layers`)) {
      for (const head of places(rule.heads, heads, `${name}.heads`)) {
        if (rule.format === undefined) continue;
        for (const side of rule.which === undefined ? sides : [rule.which]) {
          laid[2 * (layer * heads + head) + sides.indexOf(side)] = rule.format;
        }
      }
    }
  }
  return laid;
}

export class KvTable {
  readonly policy: KvPolicy;
  readonly shape: KvTableShape;
  /** [layers][heads][key, value]. */
  readonly #stored: readonly Stored[];
  /** Tokens at full precision. */
  readonly windows: KvWindows;

  /** Checks the policy and lays it out; `what` names it in errors. */
  constructor(given: KvPolicy, shape: KvTableShape, what: string) {
    const policy = checkPolicy(given, what);
    const { key = "f16", value = "f16" } = policy;
    this.policy = policy;
    this.shape = shape;
    this.#stored = layOut({ ...policy, key, value }, shape, what).map(storedOf);
    for (const [i, { rotate, beforeRope }] of this.#stored.entries()) {
      const length = i % 2 === 0 ? shape.keyLength : shape.valueLength;
      if (rotate && (length & (length - 1)) !== 0) {
        throw new RangeError(
          `Expected heads of a power of two of values to rotate in ${what}, but found ${length}`,
        );
      }
      if (i % 2 === 1 && beforeRope) {
        throw new RangeError(
          `Expected keys to store before their rotary embedding in ${what}, but found values`,
        );
      }
    }
    this.windows = new KvWindows(policy, shape.layers);
    for (const [layer, { recent }] of this.windows.layers.entries()) {
      const format = this.formats("key", layer).find(inGroups);
      if (format === undefined || recent >= channelGroup) continue;
      throw new RangeError(
        `Expected ${what} to keep at least ${channelGroup} recent tokens of layer ${layer} at full ` +
          `precision, because keys in ${format} are rounded so many at a time, but found ${recent}`,
      );
    }
  }

  format(which: Which, layer: number, head: number): KvFormat {
    return this.stored(which, layer, head).format;
  }

  stored(which: Which, layer: number, head: number): Stored {
    return this.#stored[this.#at(which, layer, head)]!;
  }

  /** The one format that all heads of all layers have, or of one layer; nothing when they differ. */
  common(which: Which, layer?: number): KvFormat | undefined {
    const found = new Set(this.formats(which, layer));
    return found.size === 1 ? [...found][0] : undefined;
  }

  /** The formats of all heads, layer by layer, or of one layer. */
  formats(which: Which, layer?: number): KvFormat[] {
    const { layers, heads } = this.shape;
    const [from, to] = layer === undefined
      ? [0, layers * heads]
      : [layer * heads, (layer + 1) * heads];
    return Array.from(
      { length: to - from },
      (_, i) => this.#stored[2 * (from + i) + sides.indexOf(which)]!.format,
    );
  }

  /** Bits of a stored number, scales included: the mean over all heads. */
  bits(which: Which): number {
    const all = this.formats(which);
    const length = which === "key" ? this.shape.keyLength : this.shape.valueLength;
    return all.reduce((sum, format) => sum + kvBits(format, length), 0) / all.length;
  }

  /** Bytes that one token takes in one layer. */
  tokenBytes(layer: number): number {
    const { keyLength, valueLength } = this.shape;
    const bytes = (which: Which, length: number) =>
      this.formats(which, layer).reduce(
        (sum, format) => sum + length * kvBits(format, length) / 8,
        0,
      );
    return bytes("key", keyLength) + bytes("value", valueLength);
  }

  /** Bytes that one token at full precision takes in one layer. */
  exactBytes(layer: number): number {
    const { heads, keyLength, valueLength } = this.shape;
    return this.windows.tokenBytes(layer, heads * (keyLength + valueLength));
  }

  /** Bytes of one page, of all layers. */
  pageBytes(): number {
    let token = 0;
    for (let layer = 0; layer < this.shape.layers; layer++) token += this.tokenBytes(layer);
    return token * pageLength;
  }

  /** Bytes of a cache for so many tokens: whole pages, and those of tokens at full precision. */
  bytes(context: number): number {
    let exact = 0;
    for (let layer = 0; layer < this.shape.layers; layer++) exact += this.exactBytes(layer);
    const pages = Math.ceil(context / pageLength);
    return this.pageBytes() * pages + exact * pageLength * this.windows.pages(pages);
  }

  /** The format where no rule says otherwise. */
  base(which: Which): KvFormat {
    return storedOf(this.policy[which] ?? "f16").format;
  }

  /** As the engine takes them; nothing where two formats say it all. */
  ids(): Uint32Array<ArrayBuffer> | undefined {
    const windows = this.windows.numbers();
    const plain = this.#stored.every(({ rotate, beforeRope }) => !rotate && !beforeRope) &&
      sides.every((side) => this.common(side) === this.base(side));
    if (plain && windows.length === 0) return undefined;
    const formats = plain
      ? []
      : this.#stored.map(({ format, rotate, beforeRope }) =>
        CacheFormatId[format] + (rotate ? CacheFormatFlags.rotate : 0) +
        (beforeRope ? CacheFormatFlags.before_rope : 0)
      );
    return Uint32Array.from([...formats, ...windows]);
  }

  #at(which: Which, layer: number, head: number): number {
    return 2 * (layer * this.shape.heads + head) + sides.indexOf(which);
  }
}

/** The shape of a loaded model's cache. */
export function cacheShapeOf(info: ModelInfo): KvTableShape {
  const { layers, kvHeads, keyLength, valueLength } = info;
  return { layers, heads: kvHeads, keyLength, valueLength };
}

/** Checks what can be checked without a model, and copies it. */
export function checkPolicy(given: unknown, what: string): KvPolicy {
  const { key = "f16", value = "f16", ...rest } = checkRuled(given, what, checkFormat);
  return { key, value, ...rest };
}

/** How a head is stored. */
interface Stored {
  readonly format: KvFormat;
  readonly rotate: boolean;
  readonly beforeRope: boolean;
}

function checkFormat(value: unknown, what: string): KvFormat | KvStored | undefined {
  if (isStored(value)) return checkStored(value, what);
  if (typeof value === "object" && value !== null && "bits" in value) {
    throw new TypeError(
      `Expected ${what} to be a format that caches are stored in (${
        allFormats.join(", ")
      }), but found ` +
        "a scheme, which is simulated only: by session.simulateKv, or by { simulate } in compareKv",
    );
  }
  return checkChoice(value, allFormats, what);
}

/** Whether this is a format with what belongs to it. */
export function isStored(value: unknown): value is KvStored {
  return typeof value === "object" && value !== null && "format" in value;
}

/** Checks and copies it. */
export function checkStored(value: KvStored, what: string): KvStored {
  checkFields(value, ["format", "rotate", "beforeRope"], what);
  const format = checkChoice(value.format, allFormats, `${what}.format`);
  if (format === undefined) {
    throw new TypeError(
      `Expected ${what}.format to be one of ${allFormats.join(", ")}, but found none`,
    );
  }
  const rotate = checkBoolean(value.rotate, `${what}.rotate`);
  const beforeRope = checkBoolean(value.beforeRope, `${what}.beforeRope`);
  return {
    format,
    ...(rotate !== undefined && { rotate }),
    ...(beforeRope !== undefined && { beforeRope }),
  };
}

function storedOf(given: KvFormat | KvStored): Stored {
  const { format, rotate = false, beforeRope = false } = typeof given === "string"
    ? { format: given }
    : given;
  return { format, rotate, beforeRope };
}

/** The same for a policy of anything that `check` accepts. */
export function checkRuled<T>(
  given: unknown,
  what: string,
  check: (value: unknown, what: string) => T | undefined,
): Partial<Ruled<T>> {
  checkFields(given, policyFields, what);
  const { key, value, rules, shape } = given as Partial<Ruled<unknown>>;
  if (rules !== undefined && !Array.isArray(rules)) {
    throw new TypeError(`Expected ${what}.rules to be an array, but found ${found(rules)}`);
  }
  if (shape !== undefined) {
    checkFields(shape, ["layers", "heads"], `${what}.shape`);
    checkInteger(shape.layers, 1, countMax, `${what}.shape.layers`);
    checkInteger(shape.heads, 1, countMax, `${what}.shape.heads`);
  }
  const [checkedKey, checkedValue] = [check(key, `${what}.key`), check(value, `${what}.value`)];
  return {
    ...(checkedKey !== undefined && { key: checkedKey }),
    ...(checkedValue !== undefined && { value: checkedValue }),
    ...checkWindow(given as Windowed, what),
    ...(rules && { rules: rules.map((rule, i) => checkRule(rule, `${what}.rules[${i}]`, check)) }),
    ...(shape && { shape: { ...shape } }),
  };
}

function checkRule<T>(
  given: unknown,
  what: string,
  check: (value: unknown, what: string) => T | undefined,
): NonNullable<Ruled<T>["rules"]>[number] {
  checkFields(given, ruleFields, what);
  const rule = given as Partial<NonNullable<Ruled<unknown>["rules"]>[number]>;
  const format = check(rule.format, `${what}.format`);
  const window = checkWindow(rule as Windowed, what);
  const about = Object.keys(window).filter((name) => name !== "exact");
  if (format === undefined && about.length === 0) {
    throw new TypeError(
      `Expected ${what}.format to be one of ${allFormats.join(", ")}, but found none`,
    );
  }
  if (about.length > 0 && (rule.heads !== undefined || rule.which !== undefined)) {
    throw new RangeError(
      `Expected ${what} to name no heads, keys or values, because ${about.join(" and ")} ` +
        `belong${about.length === 1 ? "s" : ""} to whole layers, but found some`,
    );
  }
  const which = checkChoice(rule.which, sides, `${what}.which`);
  const list = (name: "layers" | "heads") => {
    const value = rule[name];
    if (value === undefined) return {};
    const numbers = Array.isArray(value) ? value : [value];
    if (numbers.length === 0) {
      throw new RangeError(`Expected ${what}.${name} to name at least one, but found none`);
    }
    return { [name]: numbers.map((n) => checkInteger(n, 0, countMax, `${what}.${name}`)) };
  };
  return {
    ...list("layers"),
    ...list("heads"),
    ...(which && { which }),
    ...(format !== undefined && { format }),
    ...window,
  };
}

/** The indices that a rule names. */
function places(
  given: number | readonly number[] | undefined,
  count: number,
  what: string,
): readonly number[] {
  if (given === undefined) return Array.from({ length: count }, (_, i) => i);
  const list = typeof given === "number" ? [given] : given;
  for (const place of list) checkInteger(place, 0, count - 1, what);
  return list;
}
