/**
 * Tables as text.
 *
 * @module
 */

/** Rows in columns; columns of numbers are aligned to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from(
    { length: columns },
    (_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)),
  );
  const isNumeric = widths.map((_, c) =>
    rows.slice(1).every((row) => /^[\d–]/.test(row[c] ?? "–"))
  );
  return rows.map((row) =>
    row.map((cell, c) => {
      const width = widths[c] as number;
      return isNumeric[c] ? cell.padStart(width) : cell.padEnd(width);
    }).join("  ").trimEnd() + "\n"
  ).join("");
}
