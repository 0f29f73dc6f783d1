/**
 * Names of members as GBNF, all but given ones.
 *
 * @module
 */
import { literal, type Range, without } from "./gbnf.ts";
import { jsonCharacter } from "./gbnf.ts";

/** Names by their characters. */
interface Node {
  readonly next: Map<string, Node>;
  isName: boolean;
}

/**
 * A JSON string that is none of `names`. While it could still become one of them it has no escapes, which
 * might spell one in another way.
 *
 * @param char The rule for one character of a string.
 * @param add Makes a rule and gives its name.
 */
export function keysBut(
  names: readonly string[],
  char: string,
  add: (body: string) => string,
): string {
  if (names.length === 0) return `"\\"" ${char}* "\\""`;
  const root: Node = { next: new Map(), isName: false };
  for (const name of names) {
    let node = root;
    // As it would be spelled in a JSON text.
    for (const letter of JSON.stringify(name).slice(1, -1)) {
      const next = node.next.get(letter) ?? { next: new Map(), isName: false };
      node.next.set(letter, next);
      node = next;
    }
    node.isName = true;
  }
  return `"\\"" ${restOf(root, char, add)} "\\""`;
}

function restOf(node: Node, char: string, add: (body: string) => string): string {
  const taken = [...node.next.keys(), "\\", '"'].map((letter): Range => {
    const code = letter.codePointAt(0) as number;
    return [code, code];
  });
  const other = jsonCharacter(without([...taken, [0, 0x1f], [0x7f, 0x7f]])) as string;
  const parts = [`${other} ${char}*`];
  for (const [letter, next] of node.next) {
    parts.push(`${literal(letter)} ${restOf(next, char, add)}`);
  }
  if (!node.isName) parts.push('""');
  return add(parts.join(" | "));
}
