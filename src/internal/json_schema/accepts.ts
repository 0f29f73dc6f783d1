/**
 * Whether a value fulfils a flat schema: the definition that values of `enum` and `const` are chosen
 * by, and that tests compare generated texts with.
 *
 * @module
 */
import { type Flat, flatten, type Part, partOf, type TypeName, valuesOf } from "./flat.ts";
import { formats } from "./formats.ts";

/** Whether `value` fulfils `schema`, a part of `root`. Unknown keywords throw. */
export function accepts(root: unknown, schema: unknown, value: unknown): boolean {
  const part = partOf(schema, "#");
  return part !== undefined && flatten(root, part).some((flat) => acceptsFlat(root, flat, value));
}

export function acceptsFlat(root: unknown, flat: Flat, value: unknown): boolean {
  const type = typeOf(value);
  const typed = flat.types.has(type) || (type === "integer" && flat.types.has("number"));
  if (!typed) return false;
  const text = JSON.stringify(value);
  const values = valuesOf(flat);
  if (values !== undefined && !values.some((one) => JSON.stringify(one) === text)) return false;
  return flat.parts.every((part) => acceptsPart(root, part, value));
}

function typeOf(value: unknown): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as "boolean" | "object" | "string";
}

/** Of a keyword, a number, or what stands for none. */
function limit(part: Part, keyword: string, otherwise: number): number {
  const value = part.schema[keyword];
  return typeof value === "number" ? value : otherwise;
}

function acceptsPart(root: unknown, part: Part, value: unknown): boolean {
  const { schema } = part;
  if (typeof value === "string") {
    const length = [...value].length;
    const { pattern, format } = schema;
    return length >= limit(part, "minLength", 0) && length <= limit(part, "maxLength", Infinity) &&
      (typeof pattern !== "string" || new RegExp(pattern, "u").test(value)) &&
      (typeof format !== "string" || hasFormat(format, value));
  }
  if (typeof value === "number") {
    return value >= limit(part, "minimum", -Infinity) &&
      value <= limit(part, "maximum", Infinity) &&
      (schema["exclusiveMinimum"] === undefined || value > limit(part, "exclusiveMinimum", 0)) &&
      (schema["exclusiveMaximum"] === undefined || value < limit(part, "exclusiveMaximum", 0));
  }
  if (Array.isArray(value)) {
    const prefix = (schema["prefixItems"] ?? []) as unknown[];
    return value.length >= limit(part, "minItems", 0) &&
      value.length <= limit(part, "maxItems", Infinity) &&
      value.every((item, i) => accepts(root, prefix[i] ?? schema["items"] ?? true, item));
  }
  if (typeof value !== "object" || value === null) return true;
  const properties = (schema["properties"] ?? {}) as Record<string, unknown>;
  const names = Object.keys(value);
  return names.length >= limit(part, "minProperties", 0) &&
    names.length <= limit(part, "maxProperties", Infinity) &&
    ((schema["required"] ?? []) as string[]).every((name) => names.includes(name)) &&
    names.every((name) => {
      const own = Object.hasOwn(properties, name) ? properties[name] : undefined;
      const inner = own ?? schema["additionalProperties"] ?? true;
      return accepts(root, inner, (value as Record<string, unknown>)[name]);
    });
}

function hasFormat(format: string, value: string): boolean {
  if (formats[format] === undefined) return false;
  if (format === "uuid") return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value);
  const [, date, , time] = /^(\d{4}-\d\d-\d\d)?(T)?(\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))?$/
    .exec(value) ?? [];
  const wants = { date: format !== "time", time: format !== "date" };
  if (wants.date !== (date !== undefined) || wants.time !== (time !== undefined)) return false;
  const whole = new Date(`${date ?? "2024-01-01"}T${(time ?? "00:00:00Z").slice(0, 8)}Z`);
  return !Number.isNaN(whole.getTime()) && whole.toISOString().startsWith(date ?? "");
}
