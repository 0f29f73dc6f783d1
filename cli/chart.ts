/**
 * Charts as SVG, without any library, so that the same figures give the same bytes under every
 * runtime.
 *
 * @module
 */

/** Sets of points over two axes. */
export interface Scatter {
  readonly title: string;
  readonly x: string;
  /** The axis is logarithmic: points at 0 or below lie on its lower end. */
  readonly y: string;
  readonly sets: readonly {
    readonly name: string;
    readonly points: readonly { readonly x: number; readonly y: number }[];
  }[];
}

const [width, height] = [640, 400];
const [left, right, top, bottom] = [84, 24, 64, 52];
const colours = ["#b0b6bd", "#1f6f8b", "#c9a227", "#a0413e", "#5b7f3a"];
const ink = "#24292f";

/** Points with a legend; later sets lie above earlier ones. */
export function scatter({ title, x, y, sets }: Scatter): string {
  const all = sets.flatMap(({ points }) => points);
  const positive = all.map((point) => point.y).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(1, ...positive)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(10 ** (low + 1), ...positive))));
  const most = Math.max(1, ...all.map((point) => point.x));
  const step = [1, 2, 4, 8, 16].find((size) => most / size <= 10) ?? 32;
  const end = Math.ceil(most / step) * step;
  const atX = (value: number) => left + (width - left - right) * value / end;
  const atY = (value: number) => {
    const share = (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    return height - bottom - (height - top - bottom) * share;
  };
  const body: string[] = [];
  for (let power = low; power <= high; power++) {
    const at = atY(10 ** power);
    body.push(line(left, at, width - right, at), text(left - 8, at + 4, `1e${power}`, "end"));
  }
  for (let value = 0; value <= end; value += step) {
    body.push(line(atX(value), top, atX(value), height - bottom));
    body.push(text(atX(value), height - bottom + 18, String(value), "middle"));
  }
  for (const [i, { name, points }] of sets.entries()) {
    const colour = colours[i % colours.length] as string;
    for (const point of points) body.push(dot(atX(point.x), atY(point.y), 3 + i, colour));
    body.push(dot(left + 4 + i * 150, 46, 5, colour), text(left + 14 + i * 150, 50, name, "start"));
  }
  const middle = (top + height - bottom) / 2;
  body.push(text((left + width - right) / 2, height - 12, x, "middle"));
  body.push(
    `<g transform="translate(18 ${middle}) rotate(-90)">${text(0, 0, y, "middle")}</g>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12" fill="${ink}">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(16, 26, title, "start", 16),
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="#e2e5e9"/>`;
}

function dot(x: number, y: number, radius: number, colour: string): string {
  return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius}" fill="${colour}"/>`;
}

function text(x: number, y: number, content: string, anchor: string, size = 12): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<text x="${x.toFixed(1)}" y="${
    y.toFixed(1)
  }" text-anchor="${anchor}" font-size="${size}">${escaped}</text>`;
}
