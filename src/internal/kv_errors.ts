/**
 * How far a cache is from the values that were computed for it.
 *
 * @module
 */
import type { Activation } from "../activation.ts";
import type { KvDiff } from "../diff_kv.ts";
import { Recording } from "../recording.ts";
import { found as named } from "./check.ts";
import { chosenRows, KvDiffTable } from "./kv_difference.ts";
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
  const { shape } = core.settings.kv;
  const points = names.map((name) => recording.get(name));
  const { position: from, rows } = points[0] as Activation;
  const held = core.positions();
  if (held.some((position, row) => position !== row)) {
    throw new RangeError(
      "Expected a cache that has evicted nothing: recordings count its places, which have moved, but found " +
        `position ${held.at(-1)} of the text at place ${held.length - 1}`,
    );
  }
  // What was truncated since is no error.
  const stored = [...held.entries()]
    .filter(([, position]) => position >= from && position < from + rows);
  const positions = Uint32Array.from(stored, ([, position]) => position);
  const places = stored.map(([row]) => row);
  if (places.length === 0) {
    throw new RangeError(
      `Expected a recording of positions that are in the cache, but found ${rows} from ${from} on, ` +
        "of which it has none",
    );
  }
  const table = new KvDiffTable(points.length * shape.heads);
  for (const point of points) {
    const which = point.name.endsWith(".k") ? "key" : "value";
    const layer = point.layer as number;
    const length = which === "key" ? shape.keyLength : shape.valueLength;
    const width = shape.heads * length;
    if (layer >= shape.layers || point.width !== width) {
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
    for (let head = 0; head < shape.heads; head++) {
      const place = { which, layer, head } as const;
      const own = columnsOf(point, head * length, length);
      const recorded = Array.from(positions, (position) => position - from);
      const expected = chosenRows(
        recorded,
        length,
        (from, to) => own.slice(from * length, to * length),
      );
      const found = chosenRows(
        places,
        length,
        (from, to) => readKv(core, { ...place, from, to }) as Float32Array<ArrayBuffer>,
      );
      table.put({ ...place, length, expected, found }, positions);
    }
  }
  return { positions, ...table.columns };
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
