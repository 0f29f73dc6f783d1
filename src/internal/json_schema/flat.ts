/**
 * A JSON Schema made flat: `anyOf`, `oneOf`, `allOf` and `$ref` become a list of alternatives, each of
 * which is a conjunction of plain schemas. A keyword that a grammar can't follow is refused.
 *
 * @module
 */
import { found } from "../check.ts";

export type SchemaObject = { readonly [keyword: string]: unknown };

/** A schema and where it stands, as a JSON pointer. */
export interface Part {
  readonly schema: SchemaObject;
  readonly path: string;
}

const typeNames = ["null", "boolean", "object", "array", "number", "integer", "string"] as const;
export type TypeName = typeof typeNames[number];

/** Values that fulfil all of the parts and have one of the types. */
export interface Flat {
  readonly types: ReadonlySet<TypeName>;
  readonly parts: readonly Part[];
}

/** Keywords that belong to values of one type: without `type` they say it. */
const families: Readonly<Record<string, TypeName>> = {
  properties: "object",
  required: "object",
  additionalProperties: "object",
  minProperties: "object",
  maxProperties: "object",
  items: "array",
  prefixItems: "array",
  minItems: "array",
  maxItems: "array",
  minLength: "string",
  maxLength: "string",
  pattern: "string",
  format: "string",
  minimum: "number",
  maximum: "number",
  exclusiveMinimum: "number",
  exclusiveMaximum: "number",
};
const general = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"];
/** Say nothing about which values are right. */
const annotations = [
  "$schema",
  "$comment",
  "$defs",
  "definitions",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
];
const known = new Set([...Object.keys(families), ...general, ...annotations]);
/** Alternatives of one schema with those of others in it. */
const alternativesMax = 256;

/** Keywords of a schema that say which values are right. */
export function assertions(schema: SchemaObject): string[] {
  return Object.keys(schema).filter((keyword) => !annotations.includes(keyword));
}

/** Refuses what is no schema; `true` is the schema without keywords, `false` is nothing. */
export function partOf(schema: unknown, path: string): Part | undefined {
  if (schema === true) return { schema: {}, path };
  if (schema === false) return undefined;
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    throw new TypeError(`Expected a JSON Schema at ${path}, but found ${found(schema)}`);
  }
  const part = { schema: schema as SchemaObject, path };
  for (const [keyword, value] of Object.entries(schema)) {
    // The name of the whole schema changes nothing; one inside would change what references mean.
    const harmless = keyword === "$id" && path === "#" ||
      keyword === "uniqueItems" && value === false;
    if (known.has(keyword) || harmless) continue;
    throw new RangeError(
      `Expected keywords that a grammar can follow, but found ${
        JSON.stringify(keyword)
      } at ${path}`,
    );
  }
  return part;
}

/** The parts below `keyword`, an array of schemas; those that are `false` are left out. */
export function partsOf(part: Part, keyword: string): Part[] {
  const list = part.schema[keyword];
  const path = `${part.path}/${keyword}`;
  if (!Array.isArray(list) || list.length === 0) {
    throw new TypeError(`Expected schemas at ${path}, but found ${found(list)}`);
  }
  return list.flatMap((schema, i) => partOf(schema, `${path}/${i}`) ?? []);
}

/** What a local reference means. */
export function resolve(root: unknown, part: Part): Part | undefined {
  const reference = part.schema["$ref"];
  if (typeof reference !== "string" || !/^#(\/|$)/.test(reference)) {
    throw new RangeError(
      `Expected a reference into the schema (#/…) at ${part.path}/$ref, but found ${
        found(reference)
      }`,
    );
  }
  let at = root;
  for (const step of reference.split("/").slice(1)) {
    const name = decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~");
    const inside = typeof at === "object" && at !== null && Object.hasOwn(at, name);
    if (!inside) {
      throw new RangeError(
        `Expected something at ${reference}, which ${part.path} refers to, but found nothing`,
      );
    }
    at = (at as Record<string, unknown>)[name];
  }
  return partOf(at, reference);
}

/** The alternatives of one schema. `seen` are the schemas that it is a part of. */
export function flatten(root: unknown, part: Part, seen: readonly unknown[] = []): Flat[] {
  if (seen.includes(part.schema)) {
    throw new RangeError(`Expected a schema that is not a part of itself, but found ${part.path}`);
  }
  const inner = [...seen, part.schema];
  let flats: Flat[] = [{ types: typesOf(part), parts: [part] }];
  if ("$ref" in part.schema) {
    const target = resolve(root, part);
    flats = target === undefined ? [] : cross(flats, flatten(root, target, inner), part.path);
  }
  if ("allOf" in part.schema) {
    const all = partsOf(part, "allOf");
    // One of them was `false`.
    if (all.length < (part.schema["allOf"] as unknown[]).length) return [];
    for (const other of all) flats = cross(flats, flatten(root, other, inner), part.path);
  }
  for (const keyword of ["anyOf", "oneOf"]) {
    if (!(keyword in part.schema)) continue;
    const branches = partsOf(part, keyword).map((branch) => flatten(root, branch, inner));
    if (keyword === "oneOf") checkApart(part, branches);
    flats = cross(flats, branches.flat(), part.path);
  }
  return flats;
}

/** What fulfils one of each. */
export function cross(some: readonly Flat[], others: readonly Flat[], path: string): Flat[] {
  const all = some.flatMap((a) =>
    others.flatMap((b): Flat[] => {
      const types = new Set<TypeName>();
      for (const type of a.types) {
        if (b.types.has(type)) types.add(type);
        else if (type === "number" && b.types.has("integer")) types.add("integer");
        else if (type === "integer" && b.types.has("number")) types.add("integer");
      }
      return types.size === 0 ? [] : [{ types, parts: [...a.parts, ...b.parts] }];
    })
  );
  if (all.length <= alternativesMax) return all;
  throw new RangeError(
    `Expected at most ${alternativesMax} alternatives at ${path}, but found ${all.length}`,
  );
}

function typesOf({ schema, path }: Part): Set<TypeName> {
  const { type } = schema;
  if (type === undefined) {
    const said = Object.keys(schema).flatMap((keyword) => families[keyword] ?? []);
    return new Set(said.length > 0 ? said : typeNames.filter((name) => name !== "integer"));
  }
  const list = Array.isArray(type) ? type : [type];
  for (const name of list) {
    if (typeNames.includes(name)) continue;
    throw new RangeError(
      `Expected a type (${typeNames.join(", ")}) at ${path}/type, but found ${found(name)}`,
    );
  }
  // A number may be a whole one.
  return new Set(list.filter((name) => name !== "integer" || !list.includes("number")));
}

/** The values that an alternative is limited to, if it is. */
export function valuesOf(flat: Flat): readonly unknown[] | undefined {
  let values: readonly unknown[] | undefined;
  for (const { schema, path } of flat.parts) {
    const lists = [
      "const" in schema ? [schema["const"]] : undefined,
      "enum" in schema ? schema["enum"] : undefined,
    ];
    for (const list of lists) {
      if (list === undefined) continue;
      if (!Array.isArray(list)) {
        throw new TypeError(`Expected values at ${path}/enum, but found ${found(list)}`);
      }
      const texts = list.map((value) => JSON.stringify(value));
      values = (values ?? list).filter((value) => texts.includes(JSON.stringify(value)));
    }
  }
  return values;
}

/** Refuses branches of `oneOf` that can hold together: a grammar can't tell that only one does. */
function checkApart(part: Part, branches: readonly (readonly Flat[])[]): void {
  for (const [i, a] of branches.entries()) {
    for (const b of branches.slice(i + 1)) {
      if (a.every((one) => b.every((other) => areApart(one, other)))) continue;
      throw new RangeError(
        `Expected alternatives at ${part.path}/oneOf of which no two can hold together, told apart by ` +
          `type, by const or enum, or by those of a required property; anyOf takes any`,
      );
    }
  }
}

function areApart(a: Flat, b: Flat): boolean {
  const shared = cross([a], [b], "#")[0]?.types;
  if (shared === undefined) return true;
  const [some, others] = [valuesOf(a), valuesOf(b)];
  if (some !== undefined && others !== undefined) {
    const texts = others.map((value) => JSON.stringify(value));
    return !some.some((value) => texts.includes(JSON.stringify(value)));
  }
  if ([...shared].some((type) => type !== "object")) return false;
  const tagsOf = (flat: Flat) => {
    const tags = new Map<string, Set<string>>();
    for (const { schema } of flat.parts) {
      for (const name of (schema["required"] ?? []) as string[]) {
        const property = (schema["properties"] as SchemaObject | undefined)?.[name];
        if (typeof property !== "object" || property === null) continue;
        const part = { schema: property as SchemaObject, path: "" };
        const values = valuesOf({ types: flat.types, parts: [part] });
        if (values) tags.set(name, new Set(values.map((value) => JSON.stringify(value))));
      }
    }
    return tags;
  };
  const [tags, otherTags] = [tagsOf(a), tagsOf(b)];
  return [...tags].some(([name, values]) => {
    const others = otherTags.get(name);
    return others !== undefined && ![...values].some((value) => others.has(value));
  });
}
