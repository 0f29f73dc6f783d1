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
    /** A label stands beside its point. */
    readonly points: readonly {
      readonly x: number;
      readonly y: number;
      readonly label?: string | undefined;
    }[];
  }[];
}

const [width, height] = [640, 400];
const [left, right, top, bottom] = [84, 24, 64, 52];
// deno-fmt-ignore
const colours = [
  "#b0b6bd", "#1f6f8b", "#c9a227", "#a0413e", "#5b7f3a", "#6b4f8f", "#d07f3c", "#3a3f47",
];
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
    if (name === "") continue;
    body.push(dot(left + 4 + i * 150, 46, 5, colour), text(left + 14 + i * 150, 50, name, "start"));
  }
  body.push(...labels(all.map(({ label, ...at }) => ({ label, x: atX(at.x), y: atY(at.y) }))));
  const middle = (top + height - bottom) / 2;
  body.push(text((left + width - right) / 2, height - 12, x, "middle"));
  body.push(
    `<g transform="translate(18 ${middle}) rotate(-90)">${text(0, 0, y, "middle")}</g>`,
  );
  return page(title, height, body);
}

/** Labels to the right of their points, or to the left at the edge, below those that are in the way. */
function labels(
  points: readonly { readonly label: string | undefined; readonly x: number; readonly y: number }[],
): string[] {
  const [size, gap] = [10, 7];
  const taken: { from: number; to: number; y: number }[] = [];
  const sorted = points.filter(({ label }) => label !== undefined).toSorted((a, b) => a.y - b.y);
  return sorted.map(({ label = "", x, y }) => {
    const long = label.length * 0.58 * size;
    const isLeft = x + gap + long > width - 4;
    const [from, to] = isLeft ? [x - gap - long, x - gap] : [x + gap, x + gap + long];
    let at = y;
    for (const other of taken) {
      const apart = from > other.to || to < other.from || at >= other.y + size;
      if (!apart) at = other.y + size;
    }
    taken.push({ from, to, y: at });
    taken.sort((a, b) => a.y - b.y);
    return text(isLeft ? to : from, at + 3, label, isLeft ? "end" : "start", size);
  });
}

/** Figures with their intervals, one below the other. */
export interface Intervals {
  readonly title: string;
  readonly x: string;
  /** A figure that isn't finite is left out, and ends that aren't are not drawn. */
  readonly rows: readonly {
    readonly name: string;
    readonly mean: number;
    readonly low: number;
    readonly high: number;
  }[];
}

/** Points with whiskers over a linear axis that begins at 0 or below all of them. */
export function intervals({ title, x, rows }: Intervals): string {
  const [begin, rowHeight] = [230, 28];
  const tall = top + rows.length * rowHeight + bottom;
  const all = rows.flatMap(({ mean, low, high }) => [mean, low, high]).filter(Number.isFinite);
  const [least, most] = [Math.min(0, ...all), Math.max(0, ...all)];
  const power = 10 ** Math.floor(Math.log10(most - least || 1));
  const step = [0.1, 0.2, 0.5, 1, 2].map((part) => part * power)
    .find((size) => (most - least) / size <= 6) as number;
  const [first, last] = [Math.floor(least / step), Math.max(1, Math.ceil(most / step))];
  const atX = (value: number) =>
    begin + (width - right - begin) * (value / step - first) / (last - first);
  const body: string[] = [];
  for (let tick = first; tick <= last; tick++) {
    const at = atX(tick * step);
    body.push(line(at, top, at, tall - bottom));
    body.push(text(at, tall - bottom + 18, String(Number((tick * step).toPrecision(6))), "middle"));
  }
  for (const [i, { name, mean, low, high }] of rows.entries()) {
    const y = top + (i + 0.5) * rowHeight;
    body.push(text(begin - 10, y + 4, name, "end"));
    if (!Number.isFinite(mean)) continue;
    const colour = colours[1] as string;
    if (Number.isFinite(low) && Number.isFinite(high)) {
      body.push(line(atX(low), y, atX(high), y, colour, 2));
    }
    body.push(dot(atX(mean), y, 4, colour));
  }
  body.push(text((begin + width - right) / 2, tall - 12, x, "middle"));
  return page(title, tall, body);
}

/** Values step by step. */
export interface Lines {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly sets: readonly { readonly name: string; readonly values: readonly number[] }[];
  /** The number of the first step; 0 by default. */
  readonly first?: number | undefined;
}

/** Lines over linear axes that begin at 0; the first set is of points. The legend has rows of three. */
export function lines({ title, x, y, sets, first = 0 }: Lines): string {
  const above = top + 18 * Math.floor((sets.length - 1) / 3);
  const tall = height + above - top;
  const all = sets.flatMap(({ values }) => values).filter(Number.isFinite);
  const most = Math.max(1, ...all);
  const rise = [0.5, 1, 2, 5, 10].find((size) => most / size <= 8) ?? 20;
  const end = Math.max(1, ...sets.map(({ values }) => values.length - 1));
  const stride = [1, 2, 5, 10, 20, 50, 100].find((size) => end / size <= 16) ?? 500;
  const highest = Math.ceil(most / rise) * rise;
  const atX = (step: number) => left + (width - left - right) * step / end;
  const atY = (value: number) => tall - bottom - (tall - above - bottom) * value / highest;
  const body: string[] = [];
  for (let value = 0; value <= highest; value += rise) {
    body.push(line(left, atY(value), width - right, atY(value)));
    body.push(text(left - 8, atY(value) + 4, String(value), "end"));
  }
  for (let step = 0; step <= end; step += stride) {
    body.push(text(atX(step), tall - bottom + 18, String(step + first), "middle"));
  }
  for (const [i, { name, values }] of sets.entries()) {
    const colour = colours[i % colours.length] as string;
    for (const [step, value] of values.entries()) {
      const before = values[step - 1];
      if (i === 0) body.push(dot(atX(step), atY(value), 3, colour));
      else if (before !== undefined) {
        body.push(line(atX(step - 1), atY(before), atX(step), atY(value), colour, 2));
      }
    }
    if (name === "") continue;
    const [legendX, legendY] = [left + i % 3 * 190, 46 + 18 * Math.floor(i / 3)];
    body.push(dot(legendX, legendY, 5, colour), text(legendX + 10, legendY + 4, name, "start"));
  }
  body.push(text((left + width - right) / 2, tall - 12, x, "middle"));
  const middle = (above + tall - bottom) / 2;
  body.push(`<g transform="translate(18 ${middle}) rotate(-90)">${text(0, 0, y, "middle")}</g>`);
  return page(title, tall, body);
}

/** The whole picture. */
export function page(
  title: string,
  tall: number,
  body: readonly string[],
  wide: number = width,
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${tall}" ` +
    `viewBox="0 0 ${wide} ${tall}" font-family="sans-serif" font-size="12" fill="${ink}">`,
    `<rect width="${wide}" height="${tall}" fill="white"/>`,
    text(16, 26, title, "start", 16),
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/** A straight line. */
export function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  colour = "#e2e5e9",
  stroke = 1,
): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  const thick = stroke === 1 ? "" : ` stroke-width="${stroke}"`;
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="${colour}"${thick}/>`;
}

/** A filled circle. */
export function dot(x: number, y: number, radius: number, colour: string): string {
  return `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${radius}" fill="${colour}"/>`;
}

/** Words at a place. */
export function text(x: number, y: number, content: string, anchor: string, size = 12): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return `<text x="${x.toFixed(1)}" y="${
    y.toFixed(1)
  }" text-anchor="${anchor}" font-size="${size}">${escaped}</text>`;
}
