import { checkBoolean, checkFields } from "./internal/check.ts";
import { SchemaWriter } from "./internal/json_schema/write.ts";

/** A JSON Schema: an object with keywords, or a boolean. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** How JSON is laid out. */
export interface JsonSchemaOptions {
  /** Whether the text has no blanks between its parts; by default a blank, or a line's end with an indent, may stand there. */
  readonly compact?: boolean | undefined;
}

/**
 * A JSON Schema as a grammar: every text of the grammar is JSON that fulfils the schema.
 *
 * Understood are `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
 * `prefixItems`, `minItems`, `maxItems`, `minLength`, `maxLength`, `pattern`, `format` (date, time,
 * date-time, uuid), `minimum`, `maximum` and their exclusive forms, `anyOf`, `allOf`,
 * `oneOf` whose branches exclude each other, and `$ref` into the schema, also to itself. Any other keyword
 * throws. The grammar has less than the schema allows where that helps a model: properties come in the order
 * in which they are named; properties and items that the schema does not name only where it asks for
 * others by `additionalProperties` and `items`, or names none; keywords of one type say the type where there
 * is none; numbers have up to 15 digits, and no exponent where they have bounds.
 *
 * @param schema The schema (draft 2020-12, as far as said above).
 * @param options How the JSON is laid out.
 * @returns The grammar in GBNF.
 * @throws {RangeError} When a keyword or a value can't be followed, with its name and its place.
 *
 * @example
 * ```ts
 * import { jsonSchemaGrammar } from "./mod.ts";
 *
 * console.log(jsonSchemaGrammar({
 *   type: "object",
 *   properties: { city: { type: "string" }, degrees: { type: "integer", minimum: -60, maximum: 60 } },
 *   required: ["city", "degrees"],
 * }));
 * ```
 */
export function jsonSchemaGrammar(schema: JsonSchema, options: JsonSchemaOptions = {}): string {
  checkFields(options, ["compact"], "jsonSchemaGrammar");
  return new SchemaWriter(schema, checkBoolean(options.compact, "compact") ?? false).write();
}
