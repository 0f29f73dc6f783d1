/**
 * Writes the rules of a JSON Schema. Every schema becomes one rule, which is written once, so that a
 * schema may refer to itself inside of its objects and arrays.
 *
 * @module
 */
import { acceptsFlat } from "./accepts.ts";
import { found } from "../check.ts";
import { type Bound, decimalsBetween } from "./decimals.ts";
import { formats } from "./formats.ts";
import {
  assertions,
  cross,
  type Flat,
  flatten,
  type Part,
  partOf,
  partsOf,
  resolve,
  type SchemaObject,
  type TypeName,
  valuesOf,
} from "./flat.ts";
import { literal, times } from "./gbnf.ts";
import { keysBut } from "./keys.ts";
import { anyInteger, anyNumber, integersBetween } from "./numbers.ts";
import { patternGrammar } from "./pattern.ts";

const characterRule =
  `[^"\\\\\\x00-\\x1F\\x7F] | "\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2}))`;

/** The rules that others use, written when they are. */
const shared: Readonly<Record<string, string>> = {
  ws: `(" " | "\\n" [ \\t]{0,20})?`,
  hex: "[0-9a-fA-F]",
  char: characterRule,
  string: `"\\"" char* "\\""`,
  number: anyNumber,
  value: `object | array | string | number | "true" | "false" | "null"`,
  object: `"{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"`,
  array: `"[" ws (value ("," ws value)* ws)? "]"`,
};

export class SchemaWriter {
  readonly #root: unknown;
  readonly #compact: boolean;
  readonly #rules = new Map<string, string>();
  /** Names of the rules of schemas, by what they are. */
  readonly #names = new Map<string, string>();
  readonly #numbers = new WeakMap<SchemaObject, number>();
  #schemas = 0;
  /** Schemas that are being written without an object or array between them. */
  #open: string[] = [];

  constructor(root: unknown, compact: boolean) {
    this.#root = root;
    this.#compact = compact;
  }

  /** The whole grammar. */
  write(): string {
    const part = partOf(this.#root, "#");
    if (part === undefined) {
      throw new RangeError("Expected a JSON Schema that some value fulfils, but found false");
    }
    this.#rules.set("root", this.#expression([part]));
    return [...this.#rules].map(([name, body]) => `${name} ::= ${body}\n`).join("");
  }

  /** The name of a rule that others share. */
  #shared(name: string): string {
    if (this.#rules.has(name)) return name;
    const body = name === "ws" && this.#compact ? `""` : shared[name] as string;
    this.#rules.set(name, body);
    for (const other of Object.keys(shared)) {
      if (new RegExp(`(^|[\\s(])${other}\\b`).test(body)) this.#shared(other);
    }
    return name;
  }

  #add(base: string, body: string): string {
    const clean = base.replace(/[^\w]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "schema";
    let name = `s-${clean}`;
    for (let i = 2; this.#rules.has(name); i++) name = `s-${clean}-${i}`;
    this.#rules.set(name, body);
    return name;
  }

  /** What fulfils all of the schemas, as a rule. */
  #expression(given: readonly Part[]): string {
    const parts = given.filter(({ schema }) => assertions(schema).length > 0).map((part) =>
      this.#target(part)
    );
    if (parts.length === 0) return this.#shared("value");
    const key = [...new Set(parts.map(({ schema }) => this.#numberOf(schema)))].join(" ");
    if (this.#open.includes(key)) {
      throw new RangeError(
        `Expected a schema that refers to itself only inside of objects and arrays, but found ${
          (parts[0] as Part).path
        }`,
      );
    }
    const name = this.#names.get(key);
    if (name !== undefined) return name;
    const made = this.#add((parts[0] as Part).path, "");
    this.#names.set(key, made);
    this.#open.push(key);
    this.#rules.set(made, this.#body(parts));
    this.#open.pop();
    return made;
  }

  #numberOf(schema: SchemaObject): number {
    const number = this.#numbers.get(schema) ?? ++this.#schemas;
    this.#numbers.set(schema, number);
    return number;
  }

  /** What a schema that is only a reference refers to. */
  #target(part: Part): Part {
    const seen = new Set<SchemaObject>();
    let at = part;
    while ("$ref" in at.schema && assertions(at.schema).length === 1) {
      if (seen.has(at.schema)) {
        throw new RangeError(
          `Expected a reference to another schema at ${part.path}/$ref, but found a circle`,
        );
      }
      seen.add(at.schema);
      at = resolve(this.#root, at) ?? this.#nothing(part.path);
    }
    return at;
  }

  #body(parts: readonly Part[]): string {
    const [first] = parts as [Part];
    const [only, ...others] = assertions(first.schema);
    // Alternatives that stand alone keep their own rules, and may refer to what they are a part of.
    if (parts.length === 1 && only === "anyOf" && others.length === 0) {
      return partsOf(first, only).map((branch) => this.#expression([branch])).join(" | ");
    }
    let flats = flatten(this.#root, first);
    for (const part of parts.slice(1)) {
      flats = cross(flats, flatten(this.#root, part), first.path);
    }
    const alternatives = flats.flatMap((flat) => this.#alternatives(flat, first.path));
    if (alternatives.length === 0) this.#nothing(first.path);
    return alternatives.join(" | ");
  }

  #nothing(path: string): never {
    throw new RangeError(
      `Expected a schema that some value fulfils at ${path}, but found one that none does`,
    );
  }

  #alternatives(flat: Flat, path: string): string[] {
    const values = valuesOf(flat);
    if (values !== undefined) {
      return values.filter((value) => acceptsFlat(this.#root, flat, value))
        .map((value) => literal(JSON.stringify(value)));
    }
    return [...flat.types].map((type) => this.#typed(type, flat, path));
  }

  #typed(type: TypeName, flat: Flat, path: string): string {
    switch (type) {
      case "null":
        return `"null"`;
      case "boolean":
        return `"true" | "false"`;
      case "string":
        return this.#string(flat);
      case "integer":
        return this.#integer(flat);
      case "number":
        return this.#number(flat);
      default: {
        const open = this.#open;
        this.#open = [];
        const text = type === "array" ? this.#array(flat) : this.#object(flat, path);
        this.#open = open;
        return text;
      }
    }
  }

  /** All values of a keyword, and where they stand. */
  #all(flat: Flat, keyword: string): { value: unknown; path: string }[] {
    return flat.parts.filter(({ schema }) => schema[keyword] !== undefined)
      .map(({ schema, path }) => ({ value: schema[keyword], path: `${path}/${keyword}` }));
  }

  /** The range that two keywords leave. */
  #limits(flat: Flat, least: string, most: string): [number, number] {
    const count = ({ value, path }: { value: unknown; path: string }) => {
      if (Number.isSafeInteger(value) && value as number >= 0) return value as number;
      throw new RangeError(`Expected a whole number at ${path}, but found ${found(value)}`);
    };
    const min = Math.max(0, ...this.#all(flat, least).map(count));
    const max = Math.min(Infinity, ...this.#all(flat, most).map(count));
    if (max < min) this.#nothing((flat.parts[0] as Part).path);
    return [min, max];
  }

  #string(flat: Flat): string {
    const [min, max] = this.#limits(flat, "minLength", "maxLength");
    const patterns = this.#all(flat, "pattern");
    const named = this.#all(flat, "format");
    const counted = min > 0 || max < Infinity;
    if (patterns.length + named.length + Number(counted) > 1) {
      const { path } = patterns[0] ?? named[0] as { path: string };
      throw new RangeError(
        `Expected only one of pattern, format and lengths that a grammar can follow, but found more at ${path}`,
      );
    }
    const [pattern] = patterns;
    if (pattern !== undefined) {
      if (typeof pattern.value !== "string") {
        throw new TypeError(
          `Expected a pattern at ${pattern.path}, but found ${found(pattern.value)}`,
        );
      }
      return `"\\"" ${patternGrammar(pattern.value, this.#shared("char"), pattern.path)} "\\""`;
    }
    const [format] = named;
    if (format !== undefined) {
      const inner = formats[`${format.value}`];
      if (inner !== undefined) return `"\\"" ${inner} "\\""`;
      throw new RangeError(
        `Expected a format that a grammar can follow (${
          Object.keys(formats).join(", ")
        }) at ${format.path}, but found ${found(format.value)}`,
      );
    }
    return counted
      ? `"\\"" ${this.#shared("char")}${times(min, max)} "\\""`
      : this.#shared("string");
  }

  #integer(flat: Flat): string {
    const number = ({ value, path }: { value: unknown; path: string }) => {
      if (typeof value === "number" && Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value;
      throw new RangeError(`Expected a number up to 2^53 at ${path}, but found ${found(value)}`);
    };
    const low = [
      ...this.#all(flat, "minimum").map((one) => Math.ceil(number(one))),
      ...this.#all(flat, "exclusiveMinimum").map((one) => Math.floor(number(one)) + 1),
    ];
    const high = [
      ...this.#all(flat, "maximum").map((one) => Math.floor(number(one))),
      ...this.#all(flat, "exclusiveMaximum").map((one) => Math.ceil(number(one)) - 1),
    ];
    if (low.length + high.length === 0) return anyInteger;
    const min = low.length > 0 ? BigInt(Math.max(...low)) : undefined;
    const max = high.length > 0 ? BigInt(Math.min(...high)) : undefined;
    if (min !== undefined && max !== undefined && max < min) {
      this.#nothing((flat.parts[0] as Part).path);
    }
    return integersBetween(min, max);
  }

  #number(flat: Flat): string {
    const bounds = (keyword: string, exclusive: boolean) =>
      this.#all(flat, keyword).map(({ value, path }): Bound => {
        if (typeof value === "number" && Number.isFinite(value)) return { value, exclusive };
        throw new RangeError(`Expected a number at ${path}, but found ${found(value)}`);
      });
    // Of equal ones the one that leaves less comes first.
    const strict = (a: Bound, b: Bound) => Number(b.exclusive) - Number(a.exclusive);
    const [min] = [...bounds("minimum", false), ...bounds("exclusiveMinimum", true)]
      .sort((a, b) => b.value - a.value || strict(a, b));
    const [max] = [...bounds("maximum", false), ...bounds("exclusiveMaximum", true)]
      .sort((a, b) => a.value - b.value || strict(a, b));
    if (min === undefined && max === undefined) return this.#shared("number");
    return decimalsBetween(min, max) ?? this.#nothing((flat.parts[0] as Part).path);
  }

  #array(flat: Flat): string {
    const ws = this.#shared("ws");
    const [min, max] = this.#limits(flat, "minItems", "maxItems");
    const prefixes = flat.parts.map((part) =>
      part.schema["prefixItems"] === undefined ? [] : part.schema["prefixItems"] as unknown[]
    );
    const length = Math.max(0, ...prefixes.map((prefix) => prefix.length));
    // Items that nothing is said of are only made where nothing is said of any.
    const open = length === 0 || flat.parts.some(({ schema }) => schema["items"] !== undefined);
    const itemAt = (index: number): string | undefined => {
      const parts: Part[] = [];
      for (const [i, { schema, path }] of flat.parts.entries()) {
        const own = (prefixes[i] as unknown[])[index];
        const where = own === undefined ? "items" : `prefixItems/${index}`;
        const part = partOf(own ?? schema["items"] ?? true, `${path}/${where}`);
        if (part === undefined) return undefined;
        parts.push(part);
      }
      return this.#expression(parts);
    };
    const rest = open ? itemAt(length) : undefined;
    const least = Math.max(0, min - length);
    const most = rest === undefined ? 0 : Math.max(0, max - length);
    if (least > most) this.#nothing((flat.parts[0] as Part).path);
    if (length === 0) {
      if (most === 0) return `"[" ${ws} "]"`;
      const more = most === 1
        ? ""
        : ` ("," ${ws} ${rest})${times(Math.max(0, least - 1), most - 1)}`;
      return `"[" ${ws} (${rest}${more} ${ws})${least === 0 ? "?" : ""} "]"`;
    }
    // From the end on: each item and what may follow it.
    let text = rest === undefined || most === 0 ? "" : ` ("," ${ws} ${rest})${times(least, most)}`;
    for (let index = Math.min(length, max) - 1; index >= 0; index--) {
      const item = itemAt(index) ?? this.#nothing((flat.parts[0] as Part).path);
      const comma = index === 0 ? "" : `"," ${ws} `;
      const inner = this.#add(`${(flat.parts[0] as Part).path}/${index}`, `${comma}${item}${text}`);
      text = index < min ? ` ${inner}` : ` ${inner}?`;
    }
    return `"[" ${ws}${text} ${ws} "]"`;
  }

  #object(flat: Flat, path: string): string {
    const ws = this.#shared("ws");
    const named = flat.parts.map(({ schema }) => (schema["properties"] ?? {}) as SchemaObject);
    const required = new Set(
      this.#all(flat, "required").flatMap(({ value, path }) => {
        if (Array.isArray(value) && value.every((name) => typeof name === "string")) return value;
        throw new TypeError(`Expected names of properties at ${path}, but found ${found(value)}`);
      }),
    );
    const names = [
      ...new Set([...named.flatMap((properties) => Object.keys(properties)), ...required]),
    ];
    const members = names.flatMap((name) => {
      const value = this.#property(flat, named, name);
      if (value === undefined && required.has(name)) this.#nothing(path);
      if (value === undefined) return [];
      const text = `${literal(`${JSON.stringify(name)}:`)} ${ws} ${value}`;
      return [{ text, required: required.has(name) }];
    });
    const other = this.#others(flat, names, path);
    const [min, max] = this.#limits(flat, "minProperties", "maxProperties");
    if (members.length === 0) return this.#map(other, min, max, path);
    const count = members.filter((member) => member.required).length;
    if (min > count || max < (other === undefined ? members.length : Infinity)) {
      throw new RangeError(
        `Expected minProperties and maxProperties only where no properties are named, but found them at ${path}`,
      );
    }
    return this.#members(members, other, path);
  }

  /** The value of a property, or nothing when it may not be there. */
  #property(flat: Flat, named: readonly SchemaObject[], name: string): string | undefined {
    const parts: Part[] = [];
    for (const [i, { schema, path }] of flat.parts.entries()) {
      const own = Object.hasOwn(named[i] as SchemaObject, name);
      const inner = own ? (named[i] as SchemaObject)[name] : schema["additionalProperties"] ?? true;
      const step = name.replaceAll("~", "~0").replaceAll("/", "~1");
      const part = partOf(
        inner,
        own ? `${path}/properties/${step}` : `${path}/additionalProperties`,
      );
      if (part === undefined) return undefined;
      parts.push(part);
    }
    return this.#expression(parts);
  }

  /** A member that has no name in the schema. They are made where the schema asks for them, or says nothing at all. */
  #others(flat: Flat, names: readonly string[], path: string): string | undefined {
    const said = this.#all(flat, "additionalProperties");
    if (said.length === 0 && names.length > 0) return undefined;
    const parts = said.map(({ value, path }) => partOf(value, path));
    if (parts.includes(undefined)) return undefined;
    const value = this.#expression(parts as Part[]);
    const key = keysBut(names, this.#shared("char"), (body) => this.#add(`${path}/key`, body));
    return `${key} ":" ${this.#shared("ws")} ${value}`;
  }

  #map(other: string | undefined, min: number, max: number, path: string): string {
    const ws = this.#shared("ws");
    if (min > 1) {
      throw new RangeError(
        `Expected minProperties up to 1, because a grammar can't tell names apart, but found ${min} at ${path}`,
      );
    }
    if (other === undefined || max === 0) return min > 0 ? this.#nothing(path) : `"{" ${ws} "}"`;
    const more = max === 1 ? "" : ` ("," ${ws} ${other})${times(0, max - 1)}`;
    return `"{" ${ws} (${other}${more} ${ws})${min === 0 ? "?" : ""} "}"`;
  }

  /** Members in their order; before the first one there is no comma. */
  #members(
    members: readonly { text: string; required: boolean }[],
    other: string | undefined,
    path: string,
  ): string {
    const ws = this.#shared("ws");
    /** What follows a member: those from `i` on. */
    let behind = other === undefined ? "" : ` ("," ${ws} ${other})*`;
    /** The same where there is none before. */
    let first = other === undefined ? `""` : `(${other}${behind})?`;
    for (const { text, required } of members.toReversed()) {
      const next = `"," ${ws} ${text}`;
      const after = behind === "" ? "" : ` ${this.#add(`${path}/more`, behind.trim())}`;
      first = required
        ? `${text}${after}`
        : `${text}${after} | ${this.#add(`${path}/first`, first)}`;
      behind = required ? ` ${next}${after}` : ` (${next})?${after}`;
    }
    return `"{" ${ws} ${this.#add(`${path}/members`, first)} ${ws} "}"`;
  }
}
