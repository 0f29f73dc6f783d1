/**
 * Reads a model's metadata and tensor table from native memory. Values are read at once, the
 * elements of arrays only when they are asked for: a vocabulary has hundreds of thousands.
 *
 * @module
 */
import { check } from "../ffi/library.ts";
import {
  MetadataEntryLayout,
  ModelInfoLayout,
  Status,
  TensorInfoLayout,
  ValueKind,
} from "../ffi/symbols.gen.ts";
import type { MetadataArray } from "../metadata_array.ts";
import type { MetadataValue } from "../metadata_value.ts";
import type { TensorInfo } from "../tensor_info.ts";
import type { ModelCore } from "./model_core.ts";

const decoder = new TextDecoder();
/** Elements that one call reads at most, which bounds the buffer. */
const elementsMax = 4096;

/** All entries of the file, in its order. */
export function readMetadata(core: ModelCore): ReadonlyMap<string, MetadataValue> {
  const count = readCount(core, ModelInfoLayout.metadata_count);
  const result = new Map<string, MetadataValue>();
  const read = reader(core, core.library.calls.vitrine_model_metadata);
  for (let index = 0; index < count; index++) {
    const view = read(index);
    const at = MetadataEntryLayout;
    const keyLength = view.getUint32(at.key_length, true);
    const textLength = view.getUint32(at.text_length, true);
    const key = text(view, at.bytes, keyLength);
    const kind = view.getUint32(at.kind, true);
    if (kind === ValueKind.string) {
      result.set(key, text(view, at.bytes + keyLength, textLength));
    } else if (kind === ValueKind.array) {
      const length = view.getFloat64(at.number, true);
      result.set(key, arrayOf(core, index, view.getUint32(at.element_kind, true), length));
    } else {
      result.set(key, scalar(view, kind));
    }
  }
  return result;
}

/** All tensors of the file, in its order. */
export function readTensors(core: ModelCore): TensorInfo[] {
  const count = readCount(core, ModelInfoLayout.tensor_count);
  const result: TensorInfo[] = [];
  const read = reader(core, core.library.calls.vitrine_model_tensor);
  const at = TensorInfoLayout;
  for (let index = 0; index < count; index++) {
    const view = read(index);
    const nameLength = view.getUint32(at.name_length, true);
    const formatLength = view.getUint32(at.format_length, true);
    const dimensions = view.getUint32(at.dimension_count, true);
    result.push({
      name: text(view, at.bytes, nameLength),
      format: text(view, at.bytes + nameLength, formatLength),
      shape: Array.from(
        { length: dimensions },
        (_, i) => view.getFloat64(at.dimensions + 8 * i, true),
      ),
      bytes: view.getFloat64(at.byte_count, true),
    });
  }
  return result;
}

function readCount(core: ModelCore, offset: number): number {
  const view = new DataView(new ArrayBuffer(ModelInfoLayout.bytes));
  const bytes = new Uint8Array(view.buffer);
  check(
    core.library,
    core.library.calls.vitrine_model_info(core.handle, bytes, bytes.length),
    core.handle,
  );
  return view.getUint32(offset, true);
}

type RecordCall = (
  handle: number,
  index: number,
  out: Uint8Array<ArrayBuffer>,
  capacity: number,
  length: Uint32Array<ArrayBuffer>,
) => number;

/** Reads records of unknown length into one buffer that grows. */
function reader(core: ModelCore, call: RecordCall): (index: number) => DataView {
  let buffer = new Uint8Array(4096);
  const length = new Uint32Array(1);
  return (index) => {
    let status = call(core.handle, index, buffer, buffer.length, length);
    if (status === Status.buffer_too_small) {
      buffer = new Uint8Array(length[0] ?? 0);
      status = call(core.handle, index, buffer, buffer.length, length);
    }
    check(core.library, status, core.handle);
    return new DataView(buffer.buffer, 0, length[0]);
  };
}

function text(view: DataView, from: number, length: number): string {
  return decoder.decode(new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset + from, length));
}

function scalar(view: DataView, kind: number): number | bigint | boolean {
  const at = MetadataEntryLayout;
  if (kind === ValueKind.bool) return view.getUint32(at.low, true) !== 0;
  if (kind === ValueKind.uint64) return narrow(view.getBigUint64(at.low, true));
  if (kind === ValueKind.int64) return narrow(view.getBigInt64(at.low, true));
  return view.getFloat64(at.number, true);
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function kindName(kind: number): string {
  return Object.entries(ValueKind).find(([, id]) => id === kind)?.[0] ?? `type ${kind}`;
}

function arrayOf(core: ModelCore, entry: number, kind: number, length: number): MetadataArray {
  return {
    elementType: kindName(kind),
    length,
    slice(from = 0, to = length) {
      const end = Math.min(length, to < 0 ? length + to : to);
      const result: (string | number | bigint | boolean)[] = [];
      for (let at = Math.max(0, from < 0 ? length + from : from); at < end;) {
        const part = readElements(core, entry, kind, at, Math.min(elementsMax, end - at));
        result.push(...part);
        at += part.length;
      }
      return result;
    },
  };
}

function readElements(
  core: ModelCore,
  entry: number,
  kind: number,
  from: number,
  count: number,
): (string | number | bigint | boolean)[] {
  let buffer = new Uint8Array(Math.max(64, count * 24));
  // What goes in: first element and how many; what comes out: elements and bytes written.
  const range = new Uint32Array(2);
  for (;;) {
    range[0] = from;
    range[1] = count;
    const { vitrine_model_array } = core.library.calls;
    const status = vitrine_model_array(core.handle, entry, buffer, buffer.length, range);
    if (status === Status.buffer_too_small) {
      buffer = new Uint8Array(range[1] ?? 0);
      continue;
    }
    check(core.library, status, core.handle);
    return unpackElements(new DataView(buffer.buffer), kind, range[0] ?? 0);
  }
}

function unpackElements(view: DataView, kind: number, count: number) {
  const result: (string | number | bigint | boolean)[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (kind === ValueKind.string) {
      const length = view.getUint32(at, true);
      result.push(text(view, at + 4, length));
      at += 4 + length;
    } else {
      const [value, size] = element(view, at, kind);
      result.push(value);
      at += size;
    }
  }
  return result;
}

function element(view: DataView, at: number, kind: number): [number | bigint | boolean, number] {
  switch (kind) {
    case ValueKind.uint8:
      return [view.getUint8(at), 1];
    case ValueKind.int8:
      return [view.getInt8(at), 1];
    case ValueKind.bool:
      return [view.getUint8(at) !== 0, 1];
    case ValueKind.uint16:
      return [view.getUint16(at, true), 2];
    case ValueKind.int16:
      return [view.getInt16(at, true), 2];
    case ValueKind.uint32:
      return [view.getUint32(at, true), 4];
    case ValueKind.int32:
      return [view.getInt32(at, true), 4];
    case ValueKind.float32:
      return [view.getFloat32(at, true), 4];
    case ValueKind.uint64:
      return [narrow(view.getBigUint64(at, true)), 8];
    case ValueKind.int64:
      return [narrow(view.getBigInt64(at, true)), 8];
    case ValueKind.float64:
      return [view.getFloat64(at, true), 8];
    default:
      throw new TypeError(
        `Expected elements of a type that GGUF defines, but found ${kindName(kind)}`,
      );
  }
}
