/**
 * Splits a text at a separator, but not inside of JSON: quoted strings and brackets stay whole.
 *
 * @param text Any text.
 * @param separator One character.
 */
export function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = [];
  let [from, depth, quoted] = [0, 0, false];
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    if (quoted) {
      if (character === "\\") i += 1;
      else if (character === '"') quoted = false;
    } else if (character === '"') quoted = true;
    else if (character === "[") depth += 1;
    else if (character === "]") depth -= 1;
    else if (character === separator && depth <= 0) {
      parts.push(text.slice(from, i));
      from = i + 1;
    }
  }
  parts.push(text.slice(from));
  return parts;
}
