import { grammar } from "./grammar.ts";
import {
  type JsonSchema,
  jsonSchemaGrammar,
  type JsonSchemaOptions,
} from "./json_schema_grammar.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens with which the generated text goes on as JSON that fulfils a schema. It is the stage
 * `grammar` with the grammar that `jsonSchemaGrammar` writes, which also says what a schema may have.
 *
 * @param schema The schema.
 * @param options How the JSON is laid out.
 * @returns A stage for the `sampler` list of `Session.generate`; it stands first.
 * @throws {RangeError} When a keyword or a value can't be followed, with its name and its place.
 *
 * @example
 * ```ts
 * import { greedy, jsonSchema, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256 });
 * const schema = {
 *   type: "object",
 *   properties: { name: { type: "string", maxLength: 8 }, age: { type: "integer", minimum: 0, maximum: 120 } },
 *   required: ["name", "age"],
 * };
 * const sampler = [jsonSchema(schema, { compact: true }), greedy()];
 * const text = await session.generate("A person as JSON: ", { sampler, maxTokens: 120 }).text();
 * console.log(JSON.parse(text));
 * ```
 */
export function jsonSchema(schema: JsonSchema, options: JsonSchemaOptions = {}): SamplerStage {
  return grammar(jsonSchemaGrammar(schema, options));
}
