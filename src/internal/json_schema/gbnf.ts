/**
 * Pieces of GBNF: literals, classes of characters, and characters as JSON spells them in strings.
 *
 * @module
 */

/** First and last code point, both included. */
export type Range = readonly [number, number];

/** All characters; surrogates are left out where classes are made. */
export const anyCharacter: readonly Range[] = [[0, 0x10ffff]];

/** A literal that matches exactly `text`. */
export function literal(text: string): string {
  const escaped = [...text].map((char) => {
    if (char === '"' || char === "\\") return `\\${char}`;
    const code = char.codePointAt(0) as number;
    return code < 0x20 || code === 0x7f || code > 0x7e ? escape(code) : char;
  });
  return `"${escaped.join("")}"`;
}

function escape(code: number): string {
  const hex = code.toString(16).toUpperCase();
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** Ranges in order, without overlaps and surrogates. */
export function normal(ranges: readonly Range[]): Range[] {
  const merged: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else merged.push([first, last]);
  }
  return merged.flatMap(([first, last]) => {
    const low: Range = [first, Math.min(last, 0xd7ff)];
    const high: Range = [Math.max(first, 0xe000), last];
    return [low, high].filter(([from, to]) => from <= to);
  });
}

/** What is in none of the ranges. */
export function without(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = 0;
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    if (first > next) rest.push([next, first - 1]);
    next = Math.max(next, last + 1);
  }
  if (next <= 0x10ffff) rest.push([next, 0x10ffff]);
  return normal(rest);
}

/** What is in both. */
export function common(a: readonly Range[], b: readonly Range[]): Range[] {
  return normal(
    a.flatMap(([from, to]) =>
      b.map(([first, last]): Range => [Math.max(from, first), Math.min(to, last)])
    ).filter(([from, to]) => from <= to),
  );
}

/** A class of characters, or nothing for none. */
function classOf(ranges: readonly Range[]): string | undefined {
  if (ranges.length === 0) return undefined;
  const parts = ranges.map(([first, last]) =>
    first === last ? escape(first) : `${escape(first)}-${escape(last)}`
  );
  return `[${parts.join("")}]`;
}

/** What a JSON string may not have as it is: control characters, the quotation mark and the backslash. */
const escaped: readonly Range[] = [[0, 0x1f], [0x22, 0x22], [0x5c, 0x5c]];
const short: Readonly<Record<number, string>> = {
  0x08: "\\b",
  0x09: "\\t",
  0x0a: "\\n",
  0x0c: "\\f",
  0x0d: "\\r",
  0x22: '\\"',
  0x5c: "\\\\",
};

/** One character of `ranges` as it stands in a JSON string, or nothing for none. */
export function jsonCharacter(ranges: readonly Range[]): string | undefined {
  const parts: string[] = [];
  const plain = classOf(common(ranges, without(escaped)));
  if (plain !== undefined) parts.push(plain);
  for (const [first, last] of common(ranges, escaped)) {
    for (let code = first; code <= last; code++) {
      parts.push(literal(short[code] ?? `\\u${code.toString(16).padStart(4, "0")}`));
    }
  }
  return parts.length < 2 ? parts[0] : `(${parts.join(" | ")})`;
}

/** How often something comes, as GBNF writes it. */
export function times(min: number, max: number): string {
  if (max === Infinity) return min === 0 ? "*" : min === 1 ? "+" : `{${min},}`;
  return min === 0 && max === 1 ? "?" : min === max ? `{${min}}` : `{${min},${max}}`;
}
