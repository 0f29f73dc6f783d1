/**
 * `vitrine kv MODEL dump`: writes keys and values in formats that other programs read.
 *
 * @module
 */

import { closeSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { encodeNpy, type KvFormat, type KvRaw, type KvView } from "../mod.ts";
import { type KvHead, kvLayouts, kvMinimumBytes, kvScales } from "../src/internal/kv_layout.ts";
import { decodeRows, scaleDecoder } from "../src/internal/kv_rows.ts";
import { formatCode, KvTable } from "../src/internal/kv_table.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { heatMap, type HeatPanel } from "./heat_map.ts";
import type { KvAction } from "./kv.ts";
import {
  type Chosen,
  chosenPart,
  isSaved,
  type KvLook,
  lookAt,
  lookInto,
  openSaved,
  partOptions,
  readInto,
  textOf,
  withTokens,
} from "./kv_source.ts";
import { sessionOptions, sessionSettings } from "./model.ts";
import { note, print, printJson, ProgressBar } from "./output.ts";

/** The action. */
export const dumpAction: KvAction = {
  options: [...Object.keys(sessionOptions), ...partOptions, "view", "out"],
  prepare: (ref, given) => {
    const request = requestOf(given);
    if (isSaved(ref)) {
      if (given.has("file")) {
        throw new UsageError("Expected a saved session or --file with a text, but found both");
      }
      return async () => {
        using snapshot = openSaved(ref);
        await dump(lookInto(snapshot, given.integer("sequence", 0) ?? 0), request, given);
      };
    }
    const text = textOf(given, ref);
    return (signal) =>
      withTokens(ref, text, given, signal, async (model, tokens) => {
        const settings = sessionSettings(given);
        using session = model.session({ ...settings, context: settings.context ?? tokens.length });
        await readInto([session], tokens, signal);
        await dump(lookAt(session, model), request, given);
      });
  },
};

/** Endings of files, and what they get. */
const kinds = ["csv", "json", "npy"] as const;

interface DumpRequest {
  readonly kind: typeof kinds[number];
  readonly view: KvView;
  readonly out: string | undefined;
  readonly svg: string | undefined;
}

function requestOf(given: Arguments): DumpRequest {
  const out = given.text("out");
  const kind = out === undefined
    ? given.has("json") ? "json" : "csv"
    : kinds.find((ending) => out.endsWith(`.${ending}`));
  if (kind === undefined) {
    throw new UsageError(`Expected a file that ends in .csv, .json or .npy, but found "${out}"`);
  }
  if (kind === "npy" && !given.has("which")) {
    throw new UsageError("Expected --which key or --which value for one array, but found neither");
  }
  const view = given.choice("view", ["decoded", "unrotated", "raw"]) ?? "decoded";
  if (view === "unrotated" && given.choice("which", ["key", "value"]) !== "key") {
    throw new UsageError("Expected --which key with --view unrotated: values aren't rotated");
  }
  return { kind, view, out, svg: given.text("svg") };
}

/** Keys or values of one head. */
interface Place {
  readonly which: "key" | "value";
  readonly layer: number;
  readonly head: number;
}

async function dump(look: KvLook, request: DumpRequest, given: Arguments): Promise<void> {
  const chosen = chosenPart(look, given);
  const places = chosen.layers.flatMap((layer) =>
    chosen.sides.flatMap((which) => chosen.heads.map((head): Place => ({ which, layer, head })))
  );
  const charted = request.svg === undefined ? undefined : chartOf(look, chosen, places, request);
  const files = request.kind === "npy"
    ? writeArrays(look, chosen, places, request)
    : await writeText(look, chosen, places, request);
  if (request.svg !== undefined && charted !== undefined) writeFileSync(request.svg, charted);
  if (request.out === undefined) return;
  if (given.has("json")) {
    const { from, to, layers, heads, sides } = chosen;
    printJson({ files, view: request.view, which: sides, layers, heads, from, to });
  } else note(`wrote ${files.join(", ")}\n`);
}

/** Writes text piece by piece, to the file or to stdout. */
async function writeText(
  look: KvLook,
  chosen: Chosen,
  places: readonly Place[],
  { kind, view, out }: DumpRequest,
): Promise<string[]> {
  const partial = out === undefined ? undefined : `${out}.vitrine-partial`;
  const file = partial === undefined ? undefined : openSync(partial, "w");
  const write = (text: string) => {
    if (file === undefined) print(text);
    else writeSync(file, text);
  };
  const bar = new ProgressBar((value) => `${value} heads`);
  const begun = performance.now();
  try {
    const widths = csvWidths(look, places, view);
    write(kind === "csv" ? csvHead(widths) : jsonHead(look, chosen, view));
    for (const [i, place] of places.entries()) {
      // A dump that is done at once has no bar.
      if (performance.now() - begun > 500) bar.show("writing", i, places.length);
      const piece = pieceOf(look, place, chosen, view);
      const json = `${i > 0 ? ",\n" : ""}${JSON.stringify(jsonPiece(place, piece))}`;
      write(kind === "csv" ? csvPiece(place, piece, chosen.from, widths) : json);
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (kind === "json") write("]}\n");
    if (file === undefined || partial === undefined || out === undefined) return [];
    closeSync(file);
    renameSync(partial, out);
    return [out];
  } catch (error) {
    if (partial !== undefined) rmSync(partial, { force: true });
    throw error;
  } finally {
    bar.end();
  }
}

/** What is written of one head: rows of numbers, with their scales and minimums where they are raw. */
interface Piece {
  readonly format: KvFormat;
  readonly rows: number;
  readonly values: ArrayLike<number>;
  readonly scales: Float32Array;
  readonly minimums: Float32Array;
  /** Places and values. */
  readonly outliers: readonly (readonly [number, number])[];
}

/** How a head is stored. */
function storedAt(look: KvLook, { which, layer, head }: Place): KvHead {
  return new KvTable(look.policy, look, "the policy").stored(which, layer, head);
}

function pieceOf(
  look: KvLook,
  place: Place,
  { from, to }: Chosen,
  view: KvView,
): Piece {
  const part = { ...place, from, to };
  const format = look.format(place);
  const none = new Float32Array(0);
  if (view !== "raw") {
    return {
      ...{ format, rows: to - from, values: look.read(part, view) },
      ...{ scales: none, minimums: none, outliers: [] },
    };
  }
  const { codes, scales, minimums, outliers } = look.raw(part);
  const kept = halves(outliers.filter((_, i) => i % 2 === 1));
  return {
    ...{ format, rows: to - from, values: codes },
    ...{ scales: Float32Array.from(scales, scaleDecoder(format)), minimums: halves(minimums) },
    outliers: Array.from(kept, (value, i) => [outliers[2 * i] as number, value]),
  };
}

/** The numbers of f16 bits. */
function halves(bits: Uint16Array<ArrayBuffer>): Float32Array {
  return decodeRows("f16", new Uint8Array(bits.buffer), bits.length);
}

function rowOf(values: ArrayLike<number>, rows: number, row: number): number[] {
  const length = values.length / rows;
  return Array.from({ length }, (_, i) => values[row * length + i] as number);
}

/** Columns of values, scales and minimums: as many as the widest head needs. */
type CsvWidths = readonly [values: number, scales: number, minimums: number];

function csvWidths(look: KvLook, places: readonly Place[], view: KvView): CsvWidths {
  let [values, scales, minimums] = [0, 0, 0];
  for (const place of places) {
    const length = place.which === "key" ? look.keyLength : look.valueLength;
    values = Math.max(values, length);
    if (view !== "raw") continue;
    const stored = storedAt(look, place);
    const { scaleBytes } = kvLayouts[stored.format];
    const groups = kvScales(stored, length);
    if (scaleBytes > 0) scales = Math.max(scales, groups);
    if (kvMinimumBytes(stored) > 0) minimums = Math.max(minimums, groups);
  }
  return [values, scales, minimums];
}

function csvHead(widths: CsvWidths): string {
  const columns = (["v", "scale", "minimum"] as const).flatMap((letter, part) =>
    Array.from({ length: widths[part] as number }, (_, i) => `${letter}${i}`)
  );
  return `${["which", "layer", "head", "position", ...columns].join(",")}\n`;
}

function csvPiece(
  { which, layer, head }: Place,
  { values, scales, minimums, rows }: Piece,
  from: number,
  widths: CsvWidths,
): string {
  let text = "";
  for (let row = 0; row < rows; row++) {
    const cells = [values, scales, minimums].flatMap((part, i) => {
      const own = part.length === 0 ? [] : rowOf(part, rows, row).map(String);
      return [...own, ...Array((widths[i] as number) - own.length).fill("")];
    });
    text += `${[which, layer, head, from + row, ...cells].join(",")}\n`;
  }
  return text;
}

function jsonHead(look: KvLook, { from, to }: Chosen, view: KvView): string {
  const tokens = Array.from(look.tokens.subarray(from, to));
  const head = { model: look.name, policy: look.policy, view, from, to, tokens };
  return `${JSON.stringify(head).slice(0, -1)},"parts":[\n`;
}

function jsonPiece(place: Place, piece: Piece): object {
  const { format, rows, values, scales, minimums, outliers } = piece;
  const table = (part: ArrayLike<number>) =>
    Array.from({ length: rows }, (_, row) => rowOf(part, rows, row));
  return {
    ...place,
    format,
    values: table(values),
    ...(scales.length > 0 && { scales: table(scales) }),
    ...(minimums.length > 0 && { minimums: table(minimums) }),
    ...(outliers.length > 0 && { outliers }),
  };
}

/** One array of [layers][heads][positions][values]; raw ones get their scales in files beside it. */
function writeArrays(
  look: KvLook,
  { layers, heads, from, to }: Chosen,
  places: readonly Place[],
  { view, out = "" }: DumpRequest,
): string[] {
  const shape = [layers.length, heads.length, to - from];
  const write = (file: string, bytes: Uint8Array) => {
    writeFileSync(`${file}.vitrine-partial`, bytes);
    renameSync(`${file}.vitrine-partial`, file);
    return file;
  };
  if (view !== "raw") {
    const all = joined(places.map((place) => look.read({ ...place, from, to }, view)));
    return [write(out, encodeNpy(all, [...shape, all.length / product(shape)]))];
  }
  const formats = [...new Set(places.map((place) => look.format(place)))];
  if (new Set(places.map((place) => formatCode(storedAt(look, place)))).size > 1) {
    throw new UsageError(
      `Expected heads that are stored alike for one raw array, but found ${formats.join(", ")}`,
    );
  }
  const all = places.map((place) => look.raw({ ...place, from, to }));
  const bits = formats[0] === "f16" ? "<f2" as const : undefined;
  const parts: [ending: string, values: KvRaw["codes"], type: "<f2" | undefined][] = [
    [".npy", joined(all.map(({ codes }) => codes)), bits],
    [
      ".scales.npy",
      joined<KvRaw["scales"]>(all.map(({ scales }) => scales)),
      all[0]?.scales instanceof Uint8Array ? undefined : "<f2",
    ],
    [".minimums.npy", joined(all.map(({ minimums }) => minimums)), "<f2"],
    [".outliers.npy", joined(all.map(({ outliers }) => outliers)), undefined],
  ];
  return parts.filter(([, values]) => values.length > 0).map(([ending, values, type]) => {
    const file = `${out.slice(0, -".npy".length)}${ending}`;
    return write(file, encodeNpy(values, [...shape, values.length / product(shape)], type));
  });
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, extent) => all * extent, 1);
}

function joined<T extends KvRaw["codes"]>(parts: readonly T[]): T {
  const Kind = (parts[0] as T).constructor as new (length: number) => T;
  const all = new Kind(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Heads that fit into a picture, and rows of a head. */
const [panelsMax, rowsMax] = [12, 160];

/** Positions by channels. */
function chartOf(
  look: KvLook,
  { from, to }: Chosen,
  places: readonly Place[],
  { view }: DumpRequest,
): string {
  if (places.length > panelsMax) {
    throw new UsageError(
      `Expected up to ${panelsMax} heads for a chart, but found ${places.length}; ` +
        "--which, --layer and --head choose some",
    );
  }
  const panels = places.map((place): HeatPanel => {
    const values = look.read({ ...place, from, to }, view === "raw" ? "decoded" : view);
    const columns = values.length / (to - from);
    const step = Math.ceil((to - from) / rowsMax);
    const rows = Math.ceil((to - from) / step);
    const rowNumbers = Array.from({ length: rows }, (_, row) => from + row * step);
    const cells = new Float32Array(rows * columns);
    // Of positions that share a cell, the largest is what one looks for.
    for (let i = 0; i < values.length; i++) {
      const cell = Math.floor(Math.floor(i / columns) / step) * columns + i % columns;
      const value = values[i] as number;
      if (Math.abs(value) > Math.abs(cells[cell] as number) || Number.isNaN(value)) {
        cells[cell] = value;
      }
    }
    const side = place.which === "key" ? "keys" : "values";
    const name = `${side}, layer ${place.layer}, head ${place.head}`;
    return { name, rows, columns, values: cells, rowNumbers };
  });
  return heatMap({
    title: `KV cache of ${look.name}${view === "unrotated" ? ", keys before their rotation" : ""}`,
    ...{ x: "channel", y: "position", legend: "what is stored", scale: "signed" as const, panels },
  });
}
