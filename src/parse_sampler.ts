import { found } from "./internal/check.ts";
import { aliases, notation, type StageNotation } from "./internal/sampler_notation.ts";
import { splitOutside } from "./internal/split_outside.ts";
import type { SamplerStage } from "./sampler_stage.ts";
import type { StageData } from "./stage_data.ts";

/**
 * Reads a chain in the short notation: stages in order, separated by commas, each its name and, after
 * an equals sign, its values, separated by colons; what it has beside numbers comes last, as JSON. Names
 * are those of the engine with dashes;
 * `temp`, `tfs`, `typ-p` and `dynatemp` are known too. Values at the end that have a default may be
 * left out.
 *
 * @param text For example `temp=0.8,top-p=0.9`; empty for a chain without stages.
 * @returns The stages, for the `sampler` option of `Session.generate`.
 *
 * @example
 * ```ts
 * import { formatSampler, parseSampler } from "./mod.ts";
 *
 * const sampler = parseSampler("temp=0.8, top-k=40, top-p=0.9");
 * console.log(formatSampler(sampler)); // "temperature=0.8,top-k=40,top-p=0.9"
 * ```
 */
export function parseSampler(text: string): SamplerStage[] {
  if (typeof text !== "string") {
    throw new TypeError(`Expected a sampler chain as text, but found ${found(text)}`);
  }
  if (text.trim() === "") return [];
  return splitOutside(text, ",").map(parseStage);
}

function parseStage(text: string): SamplerStage {
  const [given = "", ...rest] = splitOutside(text.trim(), "=");
  const name = given.trim().replaceAll("_", "-");
  const stage = notation[aliases[name] ?? name];
  if (stage === undefined || rest.length > 1) {
    throw new RangeError(
      `Expected a sampler stage (${Object.keys(notation).join(", ")}), but found ${found(text)}`,
    );
  }
  const parts = rest.length === 0 ? [] : splitOutside(rest[0] as string, ":");
  const data = stage.data !== undefined && /^\s*["[]/.test(parts.at(-1) ?? "")
    ? parseData(name, parts.pop() as string)
    : undefined;
  const values = parts.map((value) => {
    const number = value.trim() === "" ? NaN : Number(value);
    if (Number.isFinite(number)) return number;
    throw new RangeError(`Expected numbers after ${name}=, but found ${found(value)}`);
  });
  const [least, most] = stage.values;
  const lacks = stage.data === "always" && data === undefined;
  if (values.length < least || values.length > most || lacks) {
    throw new RangeError(`Expected ${formOf(name, stage)}, but found ${found(text.trim())}`);
  }
  return stage.make(values, data);
}

function parseData(name: string, text: string): StageData {
  try {
    return JSON.parse(text);
  } catch {
    throw new RangeError(`Expected JSON after ${name}=, but found ${found(text)}`);
  }
}

function formOf(name: string, { help }: StageNotation): string {
  return help === "" ? name : `${name}=${help}`;
}
