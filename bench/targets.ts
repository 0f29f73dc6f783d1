/**
 * What each row is asked to reach: a share of the machine's own limit, measured in the same run, and
 * an advantage over llama.cpp from its prebuilt package at its best setting. The share is what
 * travels between machines.
 *
 * @module
 */

import type { KvFormat } from "../mod.ts";
import { kvLayouts } from "../src/internal/kv_layout.ts";
import type { Target } from "./result.ts";

/** Decode: bound by memory. Nobody can be more than the limit ahead, hence the lower of two. */
export function decodeTarget(fileBytes: number, limit: number, peer: number | undefined): Target {
  const share = fileBytes > 1e9 ? 0.9 : 0.85;
  return { share, ...(peer !== undefined && { ratio: Math.min(1.2, 0.92 * limit / peer) }) };
}

/** Prefill: bound by arithmetic. Only these variants were given a figure. */
export function prefillTarget(variant: string, format: string): Target | undefined {
  if (format === "F16") return { share: 0.8, ratio: 1.1 };
  if (variant === "avx2") return { share: 0.75, ratio: 1.7 };
  const ratio = format === "Q4_0" ? 1.8 : 2.8;
  if (variant === "avx512_vnni") return { share: 0.65, ratio };
  // Scales of 32 inputs leave half of each tile empty; no share of that peak was asked for.
  if (variant === "amx") return { ratio };
  return undefined;
}

/** Decode behind many tokens: bound by memory, weights and cache. */
export function depthTarget(cacheFormat: string): Target {
  return cacheFormat === "q8_0" ? { share: 0.8, ratio: 5 } : { share: 0.75, ratio: 2.2 };
}

/** Attention alone: of the time that an f16 cache takes. */
export const attentionTarget = 0.65;

/** The same for each format by its bits: nothing takes longer than f16. */
export function cacheTarget(format: KvFormat): number | undefined {
  const { codeBits } = kvLayouts[format];
  if (codeBits > 16) return undefined;
  return codeBits === 4 ? 0.45 : codeBits === 8 ? attentionTarget : 1;
}

/** Batches of eight, against our prefill rate. */
export function batchTarget(sequences: number): Target | undefined {
  return sequences === 8 ? { share: 0.75, ratio: 2 } : undefined;
}

/** Streaming, against our native rate and the peer's own TypeScript interface. */
export const streamTarget: Target = { share: 0.97, ratio: 2 };

/** Memory without the cache, in percent of the file; less than the peer takes. */
export const memoryTarget: Target = { most: 110, ratio: 1 };

/** Loading TinyLlama Q4_0, in milliseconds. */
export function loadTarget(model: string, format: string): Target | undefined {
  return model === "tinyllama-1.1b" && format === "Q4_0" ? { most: 400 } : undefined;
}

/** The first token of SmolLM2 from the start of the process, in milliseconds. */
export const startTarget: Target = { most: 150 };

/** The default chain on 128 thousand candidates, in microseconds. */
export const samplerTarget: Target = { most: 150, ratio: 10 };

/** Encoding English text, in megabytes a second. */
export const tokenizerTarget: Target = { ratio: 1, least: 20 };
