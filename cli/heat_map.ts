/**
 * Tables of numbers as coloured cells, in SVG: the same figures give the same bytes under every runtime.
 *
 * @module
 */
import { line, page, text } from "../src/internal/chart.ts";
import { encodePng, pngAddress } from "./png.ts";

/** Panels that share one scale of colours. */
export interface HeatMap {
  readonly title: string;
  /** What the columns are, and the rows. */
  readonly x: string;
  readonly y: string;
  /** What the colours mean. */
  readonly legend: string;
  /** Sizes from small to large over powers of ten, or numbers around 0. */
  readonly scale: "logarithmic" | "signed";
  readonly panels: readonly HeatPanel[];
}

/** One table. */
export interface HeatPanel {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** [rows][columns] */
  readonly values: ArrayLike<number>;
  /** Numbers of the rows, and of the columns; 0, 1, 2… without them. */
  readonly rowNumbers?: readonly number[] | undefined;
  readonly columnNumbers?: readonly number[] | undefined;
}

type Colour = readonly [red: number, green: number, blue: number];
/** From light to dark, and from blue over white to red: both are told apart without red and green. */
const ramps: Readonly<Record<HeatMap["scale"], readonly Colour[]>> = {
  logarithmic: [[246, 243, 226], [236, 197, 108], [214, 112, 70], [146, 44, 82], [44, 17, 70]],
  signed: [[23, 63, 122], [104, 160, 205], [247, 247, 247], [222, 130, 96], [125, 21, 38]],
};
const nothing: Colour = [255, 255, 255];
const endless: Colour = [0, 0, 0];
/** Panels with more cells are drawn as pictures: an element for each would be too many. */
const cellsMax = 1200;
/** Colours of a scale in a picture. */
const shades = 254;
const [margin, above, below, gap] = [62, 74, 62, 66];
const [widthMax, panelMax] = [1060, 260];

/** The picture. */
export function heatMap(map: HeatMap): string {
  const scale = scaleOf(map);
  const first = map.panels[0] as HeatPanel;
  const columns = Math.max(...map.panels.map((panel) => panel.columns));
  const rows = Math.max(...map.panels.map((panel) => panel.rows));
  const wide = clamp(panelMax / columns, 2, 44);
  const panelWidth = Math.max(columns * wide, 90) + gap;
  const perLine = Math.max(
    1,
    Math.min(map.panels.length, Math.floor((widthMax - margin) / panelWidth)),
  );
  const lines = Math.ceil(map.panels.length / perLine);
  const tall = clamp((lines > 1 ? 300 : 520) / rows, 2, 16);
  const lineHeight = rows * tall + 62;
  const body = map.panels.flatMap((panel, i) => {
    const left = margin + (i % perLine) * panelWidth;
    const top = above + Math.floor(i / perLine) * lineHeight;
    return draw(panel, { left, top, wide, tall }, scale, map, first === panel);
  });
  const width = Math.max(440, margin + perLine * panelWidth);
  const height = above + lines * lineHeight + below;
  body.push(...legendOf(map, scale, height - 44));
  return page(map.title, height, body, width);
}

interface Scale {
  readonly low: number;
  readonly high: number;
  /** Where a value lies between the ends, from 0 to 1. */
  readonly share: (value: number) => number;
  readonly colour: (value: number) => Colour;
}

function scaleOf({ scale, panels }: HeatMap): Scale {
  let [least, most] = [Infinity, 0];
  for (const { values } of panels) {
    for (let i = 0; i < values.length; i++) {
      const size = Math.abs(values[i] as number);
      if (!Number.isFinite(size) || size === 0) continue;
      least = Math.min(least, size);
      most = Math.max(most, size);
    }
  }
  if (most === 0) [least, most] = [0.1, 1];
  const isSigned = scale === "signed";
  // Sizes that are nearly the same shall look nearly the same.
  const high = isSigned ? most : Math.log10(most);
  const low = isSigned ? -most : Math.min(Math.log10(least), high - 0.5);
  const share = (value: number) =>
    clamp(((isSigned ? value : Math.log10(value)) - low) / (high - low), 0, 1);
  return {
    low,
    high,
    share,
    colour: (value) => {
      if (!Number.isFinite(value)) return endless;
      return !isSigned && value <= 0 ? nothing : mixed(ramps[scale], share(value));
    },
  };
}

function mixed(ramp: readonly Colour[], share: number): Colour {
  const at = clamp(share, 0, 1) * (ramp.length - 1);
  const before = Math.min(Math.floor(at), ramp.length - 2);
  const [a, b] = [ramp[before] as Colour, ramp[before + 1] as Colour];
  const part = (i: 0 | 1 | 2) => Math.round(a[i] + (b[i] - a[i]) * (at - before));
  return [part(0), part(1), part(2)];
}

function hex(colour: Colour): string {
  return `#${colour.map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly wide: number;
  readonly tall: number;
}

function draw(
  { name, rows, columns, values, rowNumbers, columnNumbers }: HeatPanel,
  { left, top, wide, tall }: Frame,
  scale: Scale,
  { x, y, scale: kind }: HeatMap,
  isFirst: boolean,
): string[] {
  const body = [text(left, top - 10, name, "start", 13)];
  const writes = kind === "logarithmic" && wide >= 40 && tall >= 12;
  const isPicture = rows * columns > cellsMax;
  if (isPicture) body.push(picture(values, columns, { left, top, wide, tall }, scale, kind));
  for (let r = 0; r < rows && !isPicture; r++) {
    for (let c = 0; c < columns; c++) {
      const value = values[r * columns + c] as number;
      const [cellX, cellY] = [left + c * wide, top + r * tall];
      body.push(rectangle(cellX, cellY, wide, tall, hex(scale.colour(value))));
      if (!writes) continue;
      const dark = value > 0 && Math.log10(value) > (scale.low + scale.high) / 2;
      const digits = cellText(value);
      const [middle, baseline] = [cellX + wide / 2, cellY + tall / 2 + 3.5];
      body.push(
        `<g fill="${dark || !Number.isFinite(value) ? "white" : "#24292f"}">${
          text(middle, baseline, digits, "middle", 9)
        }</g>`,
      );
    }
  }
  const [right, bottom] = [left + columns * wide, top + rows * tall];
  for (const [x1, y1, x2, y2] of [[left, top, right, top], [left, bottom, right, bottom]]) {
    body.push(line(x1!, y1!, x2!, y2!, "#8a9199"));
  }
  for (const at of [left, right]) body.push(line(at, top, at, bottom, "#8a9199"));
  for (let r = 0; r < rows; r += strideOf(rows, tall, 14)) {
    body.push(
      text(left - 6, top + (r + 0.5) * tall + 3.5, String(rowNumbers?.[r] ?? r), "end", 10),
    );
  }
  for (let c = 0; c < columns; c += strideOf(columns, wide, 22)) {
    body.push(
      text(left + (c + 0.5) * wide, bottom + 14, String(columnNumbers?.[c] ?? c), "middle", 10),
    );
  }
  body.push(text((left + right) / 2, bottom + 30, x, "middle", 11));
  if (isFirst) {
    const middle = (top + bottom) / 2;
    body.push(
      `<g transform="translate(20 ${middle.toFixed(1)}) rotate(-90)">${
        text(0, 0, y, "middle", 11)
      }</g>`,
    );
  }
  return body;
}

/** All cells as one picture, a pixel each. */
function picture(
  values: ArrayLike<number>,
  columns: number,
  { left, top, wide, tall }: Frame,
  scale: Scale,
  kind: HeatMap["scale"],
): string {
  const ramp = Array.from({ length: shades }, (_, i) => mixed(ramps[kind], i / (shades - 1)));
  const indices = Uint8Array.from({ length: values.length }, (_, i) => {
    const value = values[i] as number;
    if (!Number.isFinite(value)) return shades + 1;
    if (kind === "logarithmic" && value <= 0) return shades;
    return Math.round(scale.share(value) * (shades - 1));
  });
  const address = pngAddress(encodePng(columns, indices, [...ramp, nothing, endless]));
  const [x, y, width, height] = [left, top, columns * wide, values.length / columns * tall]
    .map((value) => Number(value.toFixed(2)));
  return `<image x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="none" ` +
    `image-rendering="optimizeSpeed" style="image-rendering:pixelated" href="${address}"/>`;
}

/** Labels at steps of 1, 2, 5, 10, …, so that they have so many pixels each. */
function strideOf(count: number, size: number, room: number): number {
  return [1, 2, 5, 10, 20, 50, 100].find((step) => step * size >= room) ?? count;
}

function legendOf({ legend, scale: kind }: HeatMap, scale: Scale, top: number): string[] {
  const [left, wide, tall] = [margin, 260, 10];
  const ramp = ramps[kind];
  const stops = ramp.map((_, i) => {
    const share = i / (ramp.length - 1);
    return `<stop offset="${share}" stop-color="${hex(mixed(ramp, share))}"/>`;
  });
  const body = [
    `<defs><linearGradient id="ramp">${stops.join("")}</linearGradient></defs>`,
    rectangle(left, top, wide, tall, "url(#ramp)"),
    text(left, top - 8, legend, "start", 11),
  ];
  const ticks = kind === "signed"
    ? [scale.low, 0, scale.high].map((at) => [at, Number(at.toPrecision(3)).toString()] as const)
    : sizeTicks(scale);
  for (const [at, label] of ticks) {
    const place = left + wide * (at - scale.low) / (scale.high - scale.low);
    body.push(line(place, top + tall, place, top + tall + 4, "#8a9199"));
    body.push(text(place, top + tall + 15, label, "middle", 10));
  }
  return body;
}

/** Powers of ten, and between few of them what is twice and five times as much. */
function sizeTicks({ low, high }: Scale): (readonly [at: number, label: string])[] {
  const decades = high - low;
  const factors = decades < 1.2 ? [1, 2, 5] : decades < 2.5 ? [1, 3] : [1];
  const every = Math.ceil(decades / 8);
  const ticks: (readonly [number, string])[] = [];
  for (let power = Math.floor(low); power <= high; power++) {
    if (power % every !== 0) continue;
    for (const factor of factors) {
      const at = power + Math.log10(factor);
      if (at >= low && at <= high) {
        ticks.push([
          at,
          power < -3 ? `${factor}e${power}` : Number(`${factor}e${power}`).toString(),
        ]);
      }
    }
  }
  return ticks;
}

/** Two digits, as short as they come. */
function cellText(value: number): string {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return "∞";
  return value >= 0.01 && value < 100 ? value.toPrecision(2) : value.toExponential(0);
}

function rectangle(x: number, y: number, wide: number, tall: number, fill: string): string {
  const [a, b, c, d] = [x, y, wide, tall].map((value) => Number(value.toFixed(2)));
  return `<rect x="${a}" y="${b}" width="${c}" height="${d}" fill="${fill}"/>`;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
