import { checkFields, checkInteger, checkSide, found as name } from "./internal/check.ts";
import { chosenRows, KvDiffTable } from "./internal/kv_difference.ts";
import { Session } from "./session.ts";
import { readSnapshot, Snapshot } from "./snapshot.ts";

/** A cache that can be compared: a session, or the first sequence of a saved one, opened or by its path. */
export type KvSource = Session | Snapshot | string;

/** Which part of two caches `diffKv` compares. */
export interface DiffKvOptions {
  /** Only keys or only values; both without it. */
  readonly which?: "key" | "value" | undefined;
  /** Layers, from 0; all without it. */
  readonly layers?: readonly number[] | undefined;
  /** KV heads, from 0; all without it. */
  readonly heads?: readonly number[] | undefined;
  /** First position in the text; 0 by default. */
  readonly from?: number | undefined;
  /** Behind the last position; by default all that both have keys and values of. */
  readonly to?: number | undefined;
  /** Sequences of saved sessions, the first source's and the second's; 0 by default. */
  readonly sequences?: readonly [number, number] | undefined;
}

/**
 * How far keys and values are from those expected, as columns with one row for each layer, head and side.
 * A number that isn't finite on one side only is an infinite error.
 */
export interface KvDiff {
  /** The positions in the text that were compared, rising; there are gaps where a cache evicted some. */
  readonly positions: Uint32Array<ArrayBuffer>;
  /** From 0. */
  readonly layer: Uint32Array<ArrayBuffer>;
  /** KV head, from 0. */
  readonly head: Uint32Array<ArrayBuffer>;
  /** 0 for keys, 1 for values. */
  readonly which: Uint8Array<ArrayBuffer>;
  /** The largest |found - expected|. */
  readonly maxError: Float64Array<ArrayBuffer>;
  /** The mean of (found - expected)². */
  readonly meanSquare: Float64Array<ArrayBuffer>;
  /** ‖found - expected‖ / ‖expected‖; 0 where all are equal, infinite where only zeros were expected. */
  readonly relative: Float64Array<ArrayBuffer>;
  /** Cosine of the angle between the two, all positions taken as one vector; NaN where one is 0. */
  readonly cosine: Float64Array<ArrayBuffer>;
  /** The position with the largest error, the first of equals. */
  readonly worst: Uint32Array<ArrayBuffer>;
  /** 1 where all numbers have the same bits, otherwise 0. */
  readonly equal: Uint8Array<ArrayBuffer>;
}

/** What `diffKv` found. */
export interface KvDifference extends KvDiff {
  /** Tokens from the beginning that both sequences have in common; what stands behind them is of other text. */
  readonly sameTokens: number;
}

/**
 * Compares what two caches hold, decoded: one precision with another, one run with another, one runtime
 * with another. Saved sessions are read without the engine.
 *
 * @param expected What the errors are measured against.
 * @param found What has the errors.
 * @param options Which part.
 * @throws {RangeError} When the caches are of other shapes, or have no position in common.
 * @throws {EngineError} When a file can't be read, or a session is busy or gone.
 *
 * @example
 * ```ts
 * import { diffKv, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using wide = model.session({ context: 128, kv: { key: "f32", value: "f32" } });
 * using narrow = model.session({ context: 128, kv: { key: "q8_0", value: "f16" } });
 * for (const session of [wide, narrow]) await session.prefill("The lighthouse at the end of the world");
 * await wide.save("wide.session"); // sessions, and files in place of them
 *
 * const diff = diffKv("wide.session", narrow);
 * for (const [row, layer] of diff.layer.entries()) {
 *   const side = diff.which[row] === 0 ? "keys" : "values";
 *   console.log(layer, diff.head[row], side, diff.relative[row], "worst at", diff.worst[row]);
 * }
 * ```
 */
export function diffKv(
  expected: KvSource,
  found: KvSource,
  options: DiffKvOptions = {},
): KvDifference {
  checkFields(options, ["which", "layers", "heads", "from", "to", "sequences"], "diffKv");
  using sources = new DisposableStack();
  const [first, second] = options.sequences ?? [undefined, undefined];
  const [a, b] = [
    open(expected, first, "expected", sources),
    open(found, second, "found", sources),
  ];
  const shapeOf = ({ layers, heads, keyLength, valueLength }: Opened["shape"]) =>
    `${layers} layers of ${heads} KV heads of ${keyLength} and ${valueLength} values`;
  if (shapeOf(a.shape) !== shapeOf(b.shape)) {
    throw new RangeError(
      `Expected two caches of one shape, but found ${shapeOf(a.shape)}, and ${shapeOf(b.shape)}`,
    );
  }
  const end = 1 + Math.min(a.positions.at(-1) ?? -1, b.positions.at(-1) ?? -1);
  const to = options.to === undefined || end < 1 ? end : checkInteger(options.to, 1, end, "to");
  const from = options.from === undefined || to < 1
    ? 0
    : checkInteger(options.from, 0, to - 1, "from");
  const common = commonRows(a.positions, b.positions, from, to);
  if (common.positions.length === 0) {
    throw new RangeError(
      `Expected positions that both caches have, but found none of the ${a.positions.length} and ` +
        `${b.positions.length} that they have`,
    );
  }
  const { layers, heads, keyLength, valueLength } = a.shape;
  const chosenLayers = places(options.layers, layers, "layers");
  const chosenHeads = places(options.heads, heads, "heads");
  const sides = options.which === undefined
    ? ["key", "value"] as const
    : [checkSide(options.which)];
  const table = new KvDiffTable(chosenLayers.length * chosenHeads.length * sides.length);
  for (const layer of chosenLayers) {
    for (const which of sides) {
      for (const head of chosenHeads) {
        const place = { which, layer, head };
        const length = which === "key" ? keyLength : valueLength;
        const rows = (of: Opened, chosen: readonly number[]) =>
          chosenRows(chosen, length, (from, to) => of.read({ ...place, from, to }));
        const pair = { expected: rows(a, common.first), found: rows(b, common.second) };
        table.put({ ...place, length, ...pair }, common.positions);
      }
    }
  }
  let sameTokens = 0;
  const [aTokens, bTokens] = [a.tokens, b.tokens];
  const shorter = Math.min(aTokens.length, bTokens.length);
  while (sameTokens < shorter && aTokens[sameTokens] === bTokens[sameTokens]) sameTokens++;
  return { positions: common.positions, sameTokens, ...table.columns };
}

/** A source as something that is read alike. */
interface Opened {
  readonly shape: {
    readonly layers: number;
    readonly heads: number;
    readonly keyLength: number;
    readonly valueLength: number;
  };
  /** Where in the text the rows are, rising. */
  readonly positions: Uint32Array;
  readonly tokens: Uint32Array;
  readonly read: (part: {
    readonly which: "key" | "value";
    readonly layer: number;
    readonly head: number;
    readonly from: number;
    readonly to: number;
  }) => Float32Array<ArrayBuffer>;
}

function open(
  source: KvSource,
  sequence: number | undefined,
  what: string,
  stack: DisposableStack,
): Opened {
  if (source instanceof Session) {
    if (sequence !== undefined && sequence !== 0) {
      throw new RangeError(
        `Expected sequence 0 of a session that is no file for ${what}, but found ${sequence}`,
      );
    }
    const { kv } = source;
    const { tokens } = source;
    return { shape: kv, positions: kv.textPositions, tokens, read: (part) => kv.read(part) };
  }
  if (typeof source !== "string" && !(source instanceof Snapshot)) {
    throw new TypeError(
      `Expected ${what} to be a session, a snapshot or the path of one, but found ${name(source)}`,
    );
  }
  const snapshot = typeof source === "string" ? stack.use(readSnapshot(source)) : source;
  const last = snapshot.sequences.length - 1;
  const index = checkInteger(sequence ?? 0, 0, last, `the sequence of ${what}`);
  return {
    shape: snapshot,
    positions: Uint32Array.from(
      snapshot.sequences[index]!.positions.flatMap(([from, to]) =>
        Array.from({ length: to - from }, (_, i) => from + i)
      ),
    ),
    tokens: snapshot.tokens(index),
    read: (part) => snapshot.read({ ...part, sequence: index }),
  };
}

/** The positions from one on up to another that both have, and which rows of each they are. */
function commonRows(a: Uint32Array, b: Uint32Array, from: number, to: number) {
  const [positions, first, second]: [number[], number[], number[]] = [[], [], []];
  let other = 0;
  for (const [row, position] of a.entries()) {
    while (other < b.length && (b[other] as number) < position) other++;
    if (position < from || position >= to || b[other] !== position) continue;
    positions.push(position);
    first.push(row);
    second.push(other);
  }
  return { positions: Uint32Array.from(positions), first, second };
}

/** Chosen indices, or all. */
function places(given: readonly number[] | undefined, count: number, what: string): number[] {
  if (given === undefined) return Array.from({ length: count }, (_, i) => i);
  if (!Array.isArray(given) || given.length === 0) {
    throw new TypeError(`Expected ${what} to be an array of numbers, but found ${name(given)}`);
  }
  return given.map((index) => checkInteger(index, 0, count - 1, what));
}
