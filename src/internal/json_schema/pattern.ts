/**
 * Regular expressions as GBNF, inside JSON strings: characters, classes, groups, alternatives,
 * repetitions, and `^` and `$` at the ends of alternatives. What a grammar can't follow, such as
 * looking around and referring back, is refused.
 *
 * @module
 */
import { anyCharacter, common, jsonCharacter, type Range, times, without } from "./gbnf.ts";

const digits: readonly Range[] = [[0x30, 0x39]];
const word: readonly Range[] = [[0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
/** `\s` of ECMAScript. */
const space: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const lineEnds: readonly Range[] = [[0x0a, 0x0a], [0x0d, 0x0d], [0x2028, 0x2029]];
const sets: Readonly<Record<string, readonly Range[]>> = {
  d: digits,
  D: without(digits),
  w: word,
  W: without(word),
  s: space,
  S: without(space),
};
const controls: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, "0": 0 };

/**
 * The contents of JSON strings in which `source` is found.
 *
 * @param any The name of the rule for one character of a string.
 * @param path Where it stands, for errors.
 */
export function patternGrammar(source: string, any: string, path: string): string {
  return new PatternReader(source, any, path).whole();
}

class PatternReader {
  readonly #chars: readonly string[];
  readonly #source: string;
  readonly #any: string;
  readonly #path: string;
  #at = 0;

  constructor(source: string, any: string, path: string) {
    this.#source = source;
    this.#any = any;
    this.#path = path;
    this.#chars = [...source];
  }

  /** Alternatives that are anchored each by itself: an end without an anchor may be anything. */
  whole(): string {
    const parts: string[] = [];
    do {
      const before = this.#takes("^") ? "" : `${this.#any}* `;
      const inner = this.#sequence();
      const after = this.#takes("$") ? "" : ` ${this.#any}*`;
      parts.push(`${before}${inner}${after}`);
    } while (this.#takes("|"));
    if (this.#at < this.#chars.length) this.#fail(this.#chars[this.#at] as string);
    return parts.length === 1 ? parts[0] as string : `(${parts.join(" | ")})`;
  }

  #alternatives(): string {
    const parts = [this.#sequence()];
    while (this.#takes("|")) parts.push(this.#sequence());
    return parts.length === 1 ? parts[0] as string : parts.join(" | ");
  }

  #sequence(): string {
    const parts: string[] = [];
    for (
      let char = this.#peek();
      char !== undefined && !"|)$".includes(char);
      char = this.#peek()
    ) {
      parts.push(this.#atom() + this.#quantifier());
    }
    return parts.length === 0 ? '""' : parts.join(" ");
  }

  #atom(): string {
    const char = this.#next();
    if (char === "(") {
      if (this.#takes("?") && !this.#takes(":")) this.#fail(`(?${this.#peek() ?? ""}`);
      const inner = this.#alternatives();
      if (!this.#takes(")")) this.#fail("a group without an end");
      return `(${inner})`;
    }
    if (char === "[") return this.#write(this.#class());
    if (char === ".") return this.#write(without(lineEnds));
    if (char === "\\") return this.#write(this.#escape());
    if ("^*+?{}".includes(char)) this.#fail(char);
    const code = char.codePointAt(0) as number;
    return this.#write([[code, code]]);
  }

  #quantifier(): string {
    const bounds = this.#bounds();
    if (bounds === undefined) return "";
    // A lazy one matches the same texts.
    this.#takes("?");
    return times(...bounds);
  }

  #bounds(): [number, number] | undefined {
    if (this.#takes("*")) return [0, Infinity];
    if (this.#takes("+")) return [1, Infinity];
    if (this.#takes("?")) return [0, 1];
    if (this.#peek() !== "{") return undefined;
    const rest = this.#chars.slice(this.#at).join("");
    const [all, min, comma, max] = /^\{(\d+)(,(\d*))?\}/.exec(rest)?.slice(0, 4) ?? [];
    if (all === undefined) this.#fail("{");
    this.#at += (all as string).length;
    const least = Number(min);
    const most = comma === undefined ? least : max === "" ? Infinity : Number(max);
    if (most < least) this.#fail(all as string);
    return [least, most];
  }

  #class(): Range[] {
    const negated = this.#takes("^");
    const ranges: Range[] = [];
    while (!this.#takes("]")) {
      const first = this.#member();
      const isRange = this.#peek() === "-" && this.#chars[this.#at + 1] !== "]" &&
        this.#chars[this.#at + 1] !== undefined;
      if (!isRange) {
        ranges.push(...first);
        continue;
      }
      this.#at += 1;
      const last = this.#member();
      const [from, to] = [first[0]?.[0] as number, last[0]?.[1] as number];
      const single = first.length === 1 && last.length === 1 && first[0]?.[1] === from &&
        last[0]?.[0] === to;
      if (!single || to < from) this.#fail("a class with a range that is none");
      ranges.push([from, to]);
    }
    return negated ? without(ranges) : common(ranges, anyCharacter);
  }

  #member(): readonly Range[] {
    const char = this.#next("a class without an end");
    if (char === "\\") return this.#takes("b") ? [[8, 8]] : this.#escape();
    const code = char.codePointAt(0) as number;
    return [[code, code]];
  }

  #escape(): readonly Range[] {
    const char = this.#next("a \\ at the end");
    const set = sets[char];
    if (set !== undefined) return set;
    let code = controls[char];
    if (char === "x") code = this.#hexadecimal(2);
    if (char === "u") code = this.#hexadecimal(4);
    if (code === undefined && /[\w]/.test(char)) this.#fail(`\\${char}`);
    code ??= char.codePointAt(0) as number;
    return [[code, code]];
  }

  #hexadecimal(length: number): number {
    const text = this.#chars.slice(this.#at, this.#at + length).join("");
    if (!new RegExp(`^[0-9a-fA-F]{${length}}$`).test(text)) this.#fail(`\\${text}`);
    this.#at += length;
    return Number.parseInt(text, 16);
  }

  #write(ranges: readonly Range[]): string {
    return jsonCharacter(ranges) ?? this.#fail("a class without characters");
  }

  #peek(): string | undefined {
    return this.#chars[this.#at];
  }

  #next(without = "an end"): string {
    const char = this.#chars[this.#at];
    if (char === undefined) return this.#fail(without);
    this.#at += 1;
    return char;
  }

  #takes(char: string): boolean {
    if (this.#chars[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  #fail(what: string): never {
    throw new RangeError(
      `Expected a pattern that a grammar can follow at ${this.#path}, but found ${what} in ${
        JSON.stringify(this.#source)
      }`,
    );
  }
}
