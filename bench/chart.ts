/**
 * Charts of a result as SVG, without any library, so that the same result gives the same bytes
 * under every runtime.
 *
 * @module
 */

import { lessIsBetter, type Result, type Row, shareOf } from "./result.ts";
import { figure, placeOf } from "./report.ts";

const width = 860;
const left = 350;
const right = 90;
const barHeight = 11;
const rowHeight = 34;
const top = 64;
const colours = { ours: "#1f6f8b", peer: "#c9a227", limit: "#b0b6bd", text: "#24292f" };

/** Rows with a limit as shares of it: what we reach, and what the peer does. */
export function roofline(result: Result): string {
  const rows = result.rows.filter((row) => row.ours !== undefined && row.limit !== undefined);
  const shares = rows.flatMap((row) => [
    shareOf(row, row.ours?.median) ?? 0,
    shareOf(row, row.peer?.value.median) ?? 0,
  ]);
  // A peer may do better than a limit that is one of ours.
  const most = Math.max(1, ...shares);
  const body = rows.map((row, i) => {
    const bars: Bar[] = [
      {
        share: shareOf(row, row.ours?.median) ?? 0,
        colour: colours.ours,
        text: `${percent(shareOf(row, row.ours?.median))}`,
      },
    ];
    if (row.peer !== undefined) {
      const share = shareOf(row, row.peer.value.median) ?? 0;
      bars.push({ share, colour: colours.peer, text: percent(share) });
    }
    return group(row, i, bars, most, `${figure(row.limit?.value ?? 0)} ${row.unit}`);
  });
  return document(
    "Share of the limit that is measured in the same run",
    rows.length,
    [...body, rule(rows.length, most)],
  );
}

/** Rates of rows in one unit, beside the peer's. */
export function rates(result: Result, title: string, wanted: (row: Row) => boolean): string {
  const rows = result.rows.filter((row) => row.ours !== undefined && wanted(row));
  const most = Math.max(
    1e-9,
    ...rows.flatMap((row) => [row.ours?.median ?? 0, row.peer?.value.median ?? 0]),
  );
  const body = rows.map((row, i) => {
    const bar = (value: number, colour: string): Bar => ({
      share: value / most,
      colour,
      text: `${figure(value)} ${row.unit}`,
    });
    const bars = [bar(row.ours?.median ?? 0, colours.ours)];
    if (row.peer !== undefined) bars.push(bar(row.peer.value.median, colours.peer));
    return group(row, i, bars, 1, lessIsBetter(row) ? "less is better" : "");
  });
  return document(title, rows.length, body);
}

/** One bar: its length as a share, and what is written behind it. */
interface Bar {
  readonly share: number;
  readonly colour: string;
  readonly text: string;
}

function percent(share: number | undefined): string {
  return share === undefined ? "–" : `${(share * 100).toFixed(0)} %`;
}

function group(
  row: Row,
  index: number,
  bars: readonly Bar[],
  most: number,
  aside: string,
): string {
  const y = top + index * rowHeight;
  const scale = (width - left - right) / most;
  return [
    text(left - 10, y + 11, row.title, "end"),
    text(
      left - 10,
      y + 24,
      [placeOf(row), aside].filter((s) => s && s !== "–").join(" · "),
      "end",
      10,
    ),
    ...bars.flatMap(({ share, colour, text: label }, i) => {
      const length = Math.max(1, share * scale);
      const at = y + 2 + i * (barHeight + 2);
      return [
        `<rect x="${left}" y="${at}" width="${
          length.toFixed(1)
        }" height="${barHeight}" fill="${colour}"/>`,
        text(left + length + 5, at + 9, label, "start", 10),
      ];
    }),
  ].join("\n");
}

/** The line at the limit itself. */
function rule(rows: number, most: number): string {
  const x = (left + (width - left - right) / most).toFixed(1);
  return `<line x1="${x}" y1="${top - 6}" x2="${x}" y2="${
    top + rows * rowHeight
  }" stroke="${colours.limit}" stroke-dasharray="4 3"/>`;
}

function text(x: number, y: number, content: string, anchor: string, size = 12): string {
  return `<text x="${x.toFixed(1)}" y="${y}" text-anchor="${anchor}" font-size="${size}">${
    escape(content)
  }</text>`;
}

function document(title: string, rows: number, body: readonly string[]): string {
  const height = top + rows * rowHeight + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="sans-serif" fill="${colours.text}">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(16, 26, title, "start", 16),
    `<rect x="16" y="38" width="11" height="11" fill="${colours.ours}"/>`,
    text(32, 48, "Vitrine", "start"),
    `<rect x="96" y="38" width="11" height="11" fill="${colours.peer}"/>`,
    text(112, 48, "peer", "start"),
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

function escape(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
