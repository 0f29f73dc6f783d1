/**
 * XXH32, the checksum of saved sessions: Yann Collet's xxHash, in 32 bits, with seed 0.
 *
 * @module
 */
const prime1 = 0x9e3779b1;
const prime2 = 0x85ebca77;
const prime3 = 0xc2b2ae3d;
const prime4 = 0x27d4eb2f;
const prime5 = 0x165667b1;

const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by));
const round = (sum: number, word: number) =>
  Math.imul(rotate((sum + Math.imul(word, prime2)) | 0, 13), prime1);

/** The checksum of some bytes. */
export function xxHash32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length } = bytes;
  let at = 0;
  let sum = prime5;
  if (length >= 16) {
    let [a, b, c, d] = [(prime1 + prime2) | 0, prime2 | 0, 0, -prime1 | 0];
    for (; at + 16 <= length; at += 16) {
      a = round(a, view.getUint32(at, true));
      b = round(b, view.getUint32(at + 4, true));
      c = round(c, view.getUint32(at + 8, true));
      d = round(d, view.getUint32(at + 12, true));
    }
    sum = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
  }
  sum = (sum + length) | 0;
  for (; at + 4 <= length; at += 4) {
    const word = Math.imul(view.getUint32(at, true), prime3);
    sum = Math.imul(rotate((sum + word) | 0, 17), prime4);
  }
  for (; at < length; at++) {
    const byte = Math.imul(view.getUint8(at), prime5);
    sum = Math.imul(rotate((sum + byte) | 0, 11), prime1);
  }
  sum = Math.imul(sum ^ (sum >>> 15), prime2);
  sum = Math.imul(sum ^ (sum >>> 13), prime3);
  return (sum ^ (sum >>> 16)) >>> 0;
}

/** As it stands in a file: eight hexadecimal digits. */
export function hex32(sum: number): string {
  return sum.toString(16).padStart(8, "0");
}
