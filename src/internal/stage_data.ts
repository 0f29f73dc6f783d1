/**
 * The data of sampler stages in bytes, as the engine reads them.
 *
 * @module
 */
import type { SamplerStages } from "../ffi/symbols.gen.ts";
import type { StageData } from "../stage_data.ts";
import { checkInteger, found } from "./check.ts";

/** What data a stage has. */
export type StageDataKind = typeof SamplerStages[keyof typeof SamplerStages]["data"] | KnownKind;

/** Kinds that this module knows, whether a stage has them or not. */
type KnownKind = "none" | "biases" | "strings" | "text";

const encoder = new TextEncoder();

/** The data of the stage `name` in bytes; what isn't of its kind is refused. */
export function packData(kind: KnownKind, data: StageData | undefined, name: string): Uint8Array {
  if (data === undefined) return new Uint8Array(0);
  switch (kind) {
    case "none":
      throw new TypeError(`Expected ${name} without data, but found ${found(data)}`);
    case "text":
      if (typeof data !== "string") {
        throw new TypeError(`Expected the data of ${name} to be a text, but found ${found(data)}`);
      }
      return encoder.encode(data);
    case "strings":
      return packStrings(list(data, name, "texts"), name);
    case "biases":
      return packBiases(list(data, name, "[token, number]"), name);
  }
}

function list(data: StageData, name: string, what: string): readonly unknown[] {
  if (Array.isArray(data)) return data;
  throw new TypeError(
    `Expected the data of ${name} to be an array of ${what}, but found ${found(data)}`,
  );
}

function packStrings(texts: readonly unknown[], name: string): Uint8Array {
  const all = texts.map((text) => {
    if (typeof text === "string") return encoder.encode(text);
    throw new TypeError(`Expected the data of ${name} to be texts, but found ${found(text)}`);
  });
  const view = new DataView(new ArrayBuffer(all.reduce((sum, { length }) => sum + 4 + length, 0)));
  const bytes = new Uint8Array(view.buffer);
  let at = 0;
  for (const text of all) {
    view.setUint32(at, text.length, true);
    bytes.set(text, at + 4);
    at += 4 + text.length;
  }
  return bytes;
}

function packBiases(pairs: readonly unknown[], name: string): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * pairs.length));
  for (const [i, pair] of pairs.entries()) {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new TypeError(
        `Expected the data of ${name} to be [token, number] each, but found ${found(pair)}`,
      );
    }
    const [token, value] = pair;
    checkInteger(token, 0, 0xffff_ffff, `a token of ${name}`);
    if (value !== false && (typeof value !== "number" || !Number.isFinite(value))) {
      throw new TypeError(
        `Expected token ${token} of ${name} to have a finite number or false, but found ${
          found(value)
        }`,
      );
    }
    view.setUint32(8 * i, token, true);
    view.setFloat32(8 * i + 4, value === false ? -Infinity : value, true);
  }
  return new Uint8Array(view.buffer);
}
