import { found } from "./internal/check.ts";
import { aliases, notation } from "./internal/sampler_notation.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Reads a chain in the short notation: stages in order, separated by commas, each its name and, after
 * an equals sign, its values, separated by colons. Names are those of the engine with dashes;
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
  return text.split(",").map(parseStage);
}

function parseStage(text: string): SamplerStage {
  const [given = "", ...rest] = text.trim().split("=");
  const name = given.trim().replaceAll("_", "-");
  const stage = notation[aliases[name] ?? name];
  if (stage === undefined || rest.length > 1) {
    throw new RangeError(
      `Expected a sampler stage (${Object.keys(notation).join(", ")}), but found ${found(text)}`,
    );
  }
  const values = rest.length === 0 ? [] : (rest[0] as string).split(":").map((value) => {
    const number = value.trim() === "" ? NaN : Number(value);
    if (Number.isFinite(number)) return number;
    throw new RangeError(`Expected numbers after ${name}=, but found ${found(value)}`);
  });
  const [least, most] = stage.values;
  if (values.length < least || values.length > most) {
    const form = stage.help === "" ? name : `${name}=${stage.help}`;
    throw new RangeError(`Expected ${form}, but found ${found(text.trim())}`);
  }
  return stage.make(values);
}
