/**
 * How far a cache is from the values that were computed for it.
 *
 * @module
 */
import type { Activation } from "../activation.ts";
import type { KvDiff } from "../diff_kv.ts";
import { Recording } from "../recording.ts";
import { found as named } from "./check.ts";
import { KvDiffTable } from "./kv_difference.ts";
import { readKv } from "./read_kv.ts";
import type { SessionCore } from "./session_core.ts";

/** Checks the recording, reads and compares. */
export function kvErrors(core: SessionCore, recording: Recording): KvDiff {
  core.requireIdle();
  if (!(recording instanceof Recording)) {
    throw new TypeError(
      `Expected a recording of blocks.N.k or blocks.N.v, but found ${named(recording)}`,
    );
  }
  const names = recording.names.filter((name) => /^blocks\.\d+\.[kv]$/.test(name));
  if (names.length === 0) {
    throw new TypeError(
      `Expected a recording of blocks.N.k or blocks.N.v, but found one of ${
        recording.names.slice(0, 4).join(", ")
      }`,
    );
  }
  if (core.textEnd !== core.position) {
    throw new RangeError(
      `Expected a session that has evicted no tokens, but found one that holds ${core.position} of ` +
        `${core.textEnd}`,
    );
  }
  const points = names.map((name) => recording.get(name));
  const { position: from, rows } = points[0] as Activation;
  // What was truncated since is no error.
  const to = Math.min(from + rows, core.positions().length);
  if (to <= from) {
    throw new RangeError(
      `Expected a recording of positions that are in the cache, but found ${rows} from ${from} on, ` +
        "of which it has none",
    );
  }
  const { shape } = core.settings.kv;
  const table = new KvDiffTable(points.length * shape.heads);
  const positions = Uint32Array.from({ length: to - from }, (_, i) => from + i);
  for (const point of points) {
    checkPoint(point, points[0] as Activation, shape);
    const which = point.name.endsWith(".k") ? "key" : "value";
    const length = which === "key" ? shape.keyLength : shape.valueLength;
    for (let head = 0; head < shape.heads; head++) {
      const place = { which, layer: point.layer as number, head } as const;
      const expected = columnsOf(point, head * length, length).subarray(0, (to - from) * length);
      const found = readKv(core, { ...place, from, to }) as Float32Array<ArrayBuffer>;
      table.put({ ...place, length, expected, found }, positions);
    }
  }
  return { positions, ...table.columns };
}

/** A point of this model, whose positions are those of the first one. */
function checkPoint(
  point: Activation,
  { position: from, rows }: Activation,
  shape: SessionCore["settings"]["kv"]["shape"],
): void {
  const length = point.name.endsWith(".k") ? shape.keyLength : shape.valueLength;
  const width = shape.heads * length;
  if (point.layer as number >= shape.layers || point.width !== width) {
    throw new RangeError(
      `Expected ${point.name} with rows of ${width} values in a model of ${shape.layers} layers, ` +
        `but found rows of ${point.width}`,
    );
  }
  if (point.position !== from || point.rows !== rows) {
    throw new RangeError(
      `Expected the same positions of all points, but found ${rows} from ${from} on, and ` +
        `${point.rows} of ${point.name} from ${point.position} on`,
    );
  }
}

/** `length` values of each row, from `at` on. */
function columnsOf(
  { values, rows, width }: Activation,
  at: number,
  length: number,
): Float32Array<ArrayBuffer> {
  const own = new Float32Array(rows * length);
  for (let row = 0; row < rows; row++) {
    own.set(values.subarray(row * width + at, row * width + at + length), row * length);
  }
  return own;
}
