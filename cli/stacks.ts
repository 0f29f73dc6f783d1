/**
 * Parts that add up, as stacked bars in SVG: the same figures give the same bytes under every runtime.
 *
 * @module
 */
import { line, page, text } from "../src/internal/chart.ts";

/** Bars, one beside the other, in panels with axes of their own. */
export interface Stacks {
  readonly title: string;
  /** What the parts are, from the bottom up. */
  readonly names: readonly string[];
  readonly panels: readonly {
    readonly name: string;
    /** What the bars are. */
    readonly x: string;
    /** Number of each bar, in rising order. */
    readonly at: readonly number[];
    /** Of each bar its parts, in bytes. */
    readonly bars: readonly (readonly number[])[];
  }[];
}

const [width, left, right, top, panelHeight, between] = [640, 76, 24, 82, 190, 74];
const colours = ["#1f6f8b", "#7fb5c5", "#a0413e", "#d99a8b", "#5b8c5a", "#c9a227", "#e8eaed"];

/** The picture. */
export function stacks({ title, names, panels }: Stacks): string {
  const body: string[] = [];
  let place = left;
  for (const [i, name] of names.entries()) {
    body.push(
      rectangle(place, 40, 11, 11, colours[i] as string),
      text(place + 16, 50, name, "start", 11),
    );
    place += 30 + name.length * 6.2;
  }
  for (const [p, { name, x, at, bars }] of panels.entries()) {
    const begin = top + p * (panelHeight + between);
    const end = begin + panelHeight;
    const most = Math.max(1, ...bars.map((parts) => parts.reduce((sum, part) => sum + part, 0)));
    const unit = unitOf(most);
    const step = stepOf(most / unit.size);
    const ceiling = Math.ceil(most / unit.size / step) * step * unit.size;
    const atY = (value: number) => end - panelHeight * value / ceiling;
    body.push(text(left, begin - 10, name, "start", 13));
    for (let value = 0; value <= ceiling * 1.001; value += step * unit.size) {
      body.push(line(left, atY(value), width - right, atY(value)));
      const label = `${Number((value / unit.size).toPrecision(4))} ${unit.name}`;
      body.push(text(left - 8, atY(value) + 4, label, "end", 10));
    }
    const wide = (width - left - right) / Math.max(1, bars.length);
    const space = wide > 6 ? Math.min(4, wide * 0.2) : 0;
    for (const [i, parts] of bars.entries()) {
      let sum = 0;
      for (const [part, value] of parts.entries()) {
        const height = panelHeight * value / ceiling;
        sum += value;
        if (value === 0) continue;
        const cell = [left + i * wide + space / 2, atY(sum), wide - space, height] as const;
        body.push(rectangle(...cell, colours[part] as string));
      }
    }
    const stride = [1, 2, 5, 10, 20, 50, 100].find((size) => size * wide >= 34) ?? bars.length;
    for (let i = 0; i < bars.length; i += stride) {
      body.push(text(left + (i + 0.5) * wide, end + 16, String(at[i]), "middle", 10));
    }
    body.push(text((left + width - right) / 2, end + 34, x, "middle", 11));
  }
  return page(title, top + panels.length * (panelHeight + between) - 18, body);
}

function unitOf(bytes: number): { readonly size: number; readonly name: string } {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return { size: 1000 ** power, name: units[power] as string };
}

/** A round step of which at most six reach the top. */
function stepOf(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  return [0.1, 0.2, 0.5, 1, 2].map((part) => part * power).find((size) => most / size <= 6) ??
    2 * power;
}

function rectangle(x: number, y: number, wide: number, tall: number, fill: string): string {
  const [a, b, c, d] = [x, y, wide, tall].map((value) => Number(value.toFixed(2)));
  return `<rect x="${a}" y="${b}" width="${c}" height="${d}" fill="${fill}"/>`;
}
