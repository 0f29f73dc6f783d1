/**
 * Tables of the pages that results are written to.
 *
 * @module
 */

/** A table in lines. A row that is too short ends in empty cells. */
export function tableLines(
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string[] {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [
    line(head),
    line(head.map(() => "---")),
    ...rows.map((cells) => line(head.map((_, i) => cells[i] ?? ""))),
  ];
}
