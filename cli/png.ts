/**
 * Small pictures as PNG, uncompressed, so that the same cells give the same bytes under every runtime (PNG:
 * ISO/IEC 15948; stored blocks of RFC 1951 within RFC 1950).
 *
 * @module
 */

/** Colours by number, as red, green and blue. */
export type Palette = readonly (readonly [red: number, green: number, blue: number])[];

/**
 * A picture with at most 256 colours.
 *
 * @param width Pixels of a row.
 * @param indices Numbers of colours, row after row.
 */
export function encodePng(
  width: number,
  indices: Uint8Array,
  palette: Palette,
): Uint8Array<ArrayBuffer> {
  const height = indices.length / width;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  // 8 bits a pixel, numbers of a palette; nothing is interlaced.
  header.set([8, 3, 0, 0, 0], 8);
  const rows = new Uint8Array((width + 1) * height);
  // Each row begins with the number of its filter: none.
  for (let y = 0; y < height; y++) {
    rows.set(indices.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  return joined([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", header),
    chunk("PLTE", Uint8Array.from(palette.flat())),
    chunk("IDAT", stored(rows)),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

/** The picture as a `data:` address. */
export function pngAddress(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return `data:image/png;base64,${btoa(text)}`;
}

/** A zlib stream of blocks that are not compressed. */
function stored(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const most = 0xffff;
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  for (let from = 0; from === 0 || from < bytes.length; from += most) {
    const block = bytes.subarray(from, from + most);
    const isLast = from + most >= bytes.length ? 1 : 0;
    const { length } = block;
    parts.push(
      Uint8Array.of(isLast, length & 0xff, length >> 8, ~length & 0xff, ~length >> 8 & 0xff),
      block,
    );
  }
  let [a, b] = [1, 0];
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  parts.push(Uint8Array.of(b >> 8, b & 0xff, a >> 8, a & 0xff));
  return joined(parts);
}

function chunk(name: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

/** CRC-32 as PNG has it. */
function crc(bytes: Uint8Array): number {
  let sum = 0xffff_ffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum >>> 1 ^ (sum & 1 ? 0xedb8_8320 : 0);
  }
  return ~sum >>> 0;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
