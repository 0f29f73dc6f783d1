/**
 * A cache policy laid out: the format of every layer, KV head and side.
 *
 * @module
 */
import { CacheFormatFlags, CacheFormatId } from "../ffi/symbols.gen.ts";
import { type KvFormat, kvFormats, kvGroupFormats } from "../kv_format.ts";
import type { KvPolicy, KvShape, KvStored } from "../kv_policy.ts";
import type { ModelInfo } from "../model_info.ts";
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkInteger,
  checkNumber,
  found,
} from "./check.ts";
import {
  groupMin,
  groupUsual,
  inGroups,
  keyGroup,
  keyGroupMax,
  kvBits,
  type KvHead,
  pageLength,
} from "./kv_layout.ts";
import { checkWindow, KvWindows, type Windowed } from "./kv_windows.ts";

/** Layers, KV heads and layout of one of their rows. */
export interface KvTableShape extends KvShape {
  /** Values of one head. */
  readonly keyLength: number;
  readonly valueLength: number;
}

const sides = ["key", "value"] as const;
type Which = (typeof sides)[number];
export const policyFields = ["key", "value", "rules", "shape", "sinks", "recent", "exact"];
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
  readonly #stored: readonly KvHead[];
  /** Tokens at full precision. */
  readonly windows: KvWindows;

  /** Checks the policy and lays it out; `what` names it in errors. */
  constructor(given: KvPolicy | undefined, shape: KvTableShape, what: string) {
    const policy = checkPolicy(given, what);
    const { key = "f16", value = "f16" } = policy;
    this.policy = policy;
    this.shape = shape;
    this.#stored = layOut({ ...policy, key, value }, shape, what).map((given, i) =>
      i % 2 === 0
        ? storedOf(given, "key", shape.keyLength)
        : storedOf(given, "value", shape.valueLength)
    );
    for (const head of this.#stored) {
      const { rotate, beforeRope } = head;
      const length = head.which === "key" ? shape.keyLength : shape.valueLength;
      checkGroup(head, length, what);
      if (rotate && (length & (length - 1)) !== 0) {
        throw new RangeError(
          `Expected heads of a power of two of values to rotate in ${what}, but found ${length}`,
        );
      }
      if (head.which === "value" && beforeRope) {
        throw new RangeError(
          `Expected keys to store before their rotary embedding in ${what}, but found values`,
        );
      }
    }
    this.windows = new KvWindows(policy, shape.layers);
    for (const [layer, { recent }] of this.windows.layers.entries()) {
      const head = this.heads("key", layer).find((head) => keyGroup(head) > Math.max(1, recent));
      if (head === undefined) continue;
      throw new RangeError(
        `Expected ${what} to keep at least ${head.group} recent tokens of layer ${layer} at full ` +
          `precision, because keys in ${head.format} are rounded so many at a time, but found ${recent}` +
          fewerHint(head),
      );
    }
  }

  format(which: Which, layer: number, head: number): KvFormat {
    return this.stored(which, layer, head).format;
  }

  stored(which: Which, layer: number, head: number): KvHead {
    return this.#stored[this.#at(which, layer, head)]!;
  }

  /** The one format that all heads of all layers have, or of one layer; nothing when they differ. */
  common(which: Which, layer?: number): KvFormat | undefined {
    const found = new Set(this.formats(which, layer));
    return found.size === 1 ? [...found][0] : undefined;
  }

  /** The formats of all heads, layer by layer, or of one layer. */
  formats(which: Which, layer?: number): KvFormat[] {
    return this.heads(which, layer).map(({ format }) => format);
  }

  /** All heads, layer by layer, or those of one layer. */
  heads(which: Which, layer?: number): KvHead[] {
    const { layers, heads } = this.shape;
    const [from, to] = layer === undefined
      ? [0, layers * heads]
      : [layer * heads, (layer + 1) * heads];
    return Array.from(
      { length: to - from },
      (_, i) => this.#stored[2 * (from + i) + sides.indexOf(which)]!,
    );
  }

  /** Bits of a stored number, scales included: the mean over all heads. */
  bits(which: Which): number {
    const all = this.heads(which);
    const length = which === "key" ? this.shape.keyLength : this.shape.valueLength;
    return all.reduce((sum, head) => sum + kvBits(head, length), 0) / all.length;
  }

  /** Bytes that one token takes in one layer. */
  tokenBytes(layer: number): number {
    const { keyLength, valueLength } = this.shape;
    const bytes = (which: Which, length: number) =>
      this.heads(which, layer).reduce((sum, head) => sum + length * kvBits(head, length) / 8, 0);
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
    return formatOf(this.policy[which] ?? "f16");
  }

  /** As the engine takes them; nothing where two formats say it all. */
  ids(): Uint32Array<ArrayBuffer> | undefined {
    const windows = this.windows.numbers();
    const plain = this.#stored.every((head) => formatCode(head) === CacheFormatId[head.format]) &&
      sides.every((side) => this.common(side) === this.base(side));
    if (plain && windows.length === 0) return undefined;
    const formats = plain ? [] : this.#stored.map(formatCode);
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

/** Checks what can be checked without a model, and copies it; nothing at all is `"f16"`. */
export function checkPolicy(given: unknown = {}, what: string): KvPolicy {
  const { key = "f16", value = "f16", ...rest } = checkRuled(given, what, checkFormat);
  return { key, value, ...rest };
}

/** A format and what belongs to it, as the engine takes them. */
export function formatCode(head: Omit<KvHead, "which">): number {
  const { format, rotate, beforeRope, symmetric, group, outliers } = head;
  return CacheFormatId[format] + (rotate ? CacheFormatFlags.rotate : 0) +
    (beforeRope ? CacheFormatFlags.before_rope : 0) +
    (symmetric ? CacheFormatFlags.symmetric : 0) +
    Math.log2(group / groupMin) * CacheFormatFlags.group +
    Math.round(outliers * 1000) * CacheFormatFlags.outliers;
}

/** Whether heads of this length can be in such groups. */
export function checkGroup(
  { which, format, group, outliers }: KvHead,
  length: number,
  what: string,
): void {
  if (which === "key" && group > keyGroupMax) {
    throw new RangeError(
      `Expected keys of ${what} in groups of up to ${keyGroupMax} tokens, but found ${group}`,
    );
  }
  if (group !== groupMin && length % group !== 0) {
    throw new RangeError(
      `Expected heads of a multiple of ${group} values for ${which}s of ${what} in groups of so many, ` +
        `but found ${length}`,
    );
  }
  if (outliers > 0 && length > outlierHeadMax) {
    throw new RangeError(
      `Expected heads of at most ${outlierHeadMax} values for ${which}s of ${what} in ${format} with ` +
        `outliers, but found ${length}`,
    );
  }
}

/** What an error about keys with too few recent tokens says besides, where a smaller group needs fewer. */
export function fewerHint({ format, group }: KvHead): string {
  if (group === groupMin) return "";
  return `; { format: "${format}", group: ${groupMin} } needs ${groupMin}`;
}

/** Places of outliers are 16 bits. */
const outlierHeadMax = 512;
const outlierShareMax = 0.25;

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
  checkFields(value, ["format", "rotate", "beforeRope", ...groupFields], what);
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
    ...checkGroupOptions(value, format, what),
  };
}

const groupFields = ["symmetric", "group", "outliers"] as const;

/** Options of formats in groups. */
function checkGroupOptions(
  given: KvStored,
  format: KvFormat,
  what: string,
): Pick<KvStored, (typeof groupFields)[number]> {
  const named = groupFields.find((name) => given[name] !== undefined);
  if (named !== undefined && !inGroups(format)) {
    throw new RangeError(
      `Expected ${what}.format to be one of ${
        kvGroupFormats.join(", ")
      }, which have ${named}, but found ` +
        format,
    );
  }
  const symmetric = checkBoolean(given.symmetric, `${what}.symmetric`);
  const { group, outliers } = given;
  if (group !== undefined && ![32, 64, 128].includes(group)) {
    throw new RangeError(`Expected ${what}.group to be 32, 64 or 128, but found ${found(group)}`);
  }
  if (outliers !== undefined) {
    const steps = (x: number) => Math.abs(x * 1000 - Math.round(x * 1000)) < 1e-9;
    checkNumber(
      outliers,
      (x) => x >= 0 && x <= outlierShareMax && steps(x),
      `from 0 to ${outlierShareMax} in steps of 0.001`,
      `${what}.outliers`,
    );
  }
  return {
    ...(symmetric !== undefined && { symmetric }),
    ...(group !== undefined && { group }),
    ...(outliers !== undefined && { outliers }),
  };
}

function formatOf(given: KvFormat | KvStored): KvFormat {
  return typeof given === "string" ? given : given.format;
}

/** With what is usual filled in, for heads of so many values. */
export function storedOf(given: KvFormat | KvStored, which: Which, length: number): KvHead {
  const stored: KvStored = typeof given === "string" ? { format: given } : given;
  const {
    format,
    rotate = false,
    beforeRope = false,
    symmetric = false,
    group = groupUsual(format, length),
    outliers = 0,
  } = stored;
  return { which, format, rotate, beforeRope, symmetric, group, outliers };
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
