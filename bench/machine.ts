/**
 * What a result must say about the machine, as far as the system tells it.
 *
 * @module
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cpus, freemem, release, totalmem } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** A machine. */
export interface Machine {
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  /** Sizes of the caches as the system writes them: "L1d 48K". */
  readonly caches: readonly string[];
  /** Whether it says that it is a virtual machine. */
  readonly virtual: boolean;
  readonly system: string;
  /** Whether the system tells power and temperature. */
  readonly power: boolean;
  readonly temperature: boolean;
}

/** Describes this machine. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cpus: cpus().length,
    memoryBytes: totalmem(),
    caches: readCaches(),
    virtual: / hypervisor\b/.test(readText("/proc/cpuinfo") ?? ""),
    system: `${process.platform} ${release()}`,
    power: energyFiles().length > 0,
    temperature: temperatureFiles().length > 0,
  };
}

/** Bytes of memory that a program could still take. */
export function availableMemory(): number {
  const kib = /^MemAvailable: +(\d+) kB/m.exec(readText("/proc/meminfo") ?? "")?.[1];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

/** A look at the sensors. */
export interface Sensors {
  /** When, in milliseconds. */
  readonly at: number;
  /** Energy used so far by all processor packages, in joules; nothing where it isn't told. */
  readonly joules: number | undefined;
  /** The hottest sensor, in degrees Celsius. */
  readonly celsius: number | undefined;
}

/** Reads the sensors. */
export function readSensors(): Sensors {
  const energies = energyFiles().map(readNumber).filter((value) => value !== undefined);
  const heats = temperatureFiles().map(readNumber).filter((value) => value !== undefined);
  return {
    at: performance.now(),
    joules: energies.length > 0 ? energies.reduce((a, b) => a + b) / 1e6 : undefined,
    celsius: heats.length > 0 ? Math.max(...heats) / 1e3 : undefined,
  };
}

/** Mean power between two looks, in watts; nothing where energy isn't told, or its counter wrapped. */
export function wattsBetween(before: Sensors, after: Sensors): number | undefined {
  if (before.joules === undefined || after.joules === undefined) return undefined;
  const joules = after.joules - before.joules;
  return joules >= 0 && after.at > before.at ? joules / (after.at - before.at) * 1000 : undefined;
}

/** Counters of whole packages ("intel-rapl:0"); their parts would be counted twice. */
function energyFiles(): string[] {
  const folder = "/sys/class/powercap";
  return list(folder).filter((name) => /^[a-z-]+:\d+$/.test(name))
    .map((name) => join(folder, name, "energy_uj"))
    .filter((path) => readNumber(path) !== undefined);
}

function temperatureFiles(): string[] {
  const zones = list("/sys/class/thermal").filter((name) => name.startsWith("thermal_zone"))
    .map((name) => join("/sys/class/thermal", name, "temp"));
  const monitors = list("/sys/class/hwmon").flatMap((name) =>
    list(join("/sys/class/hwmon", name)).filter((file) => /^temp\d+_input$/.test(file))
      .map((file) => join("/sys/class/hwmon", name, file))
  );
  return [...zones, ...monitors].filter((path) => readNumber(path) !== undefined);
}

function readCaches(): string[] {
  const folder = "/sys/devices/system/cpu/cpu0/cache";
  return list(folder).filter((name) => name.startsWith("index")).map((name) => {
    const read = (file: string) => readText(join(folder, name, file))?.trim() ?? "";
    const letter = { Data: "d", Instruction: "i" }[read("type")] ?? "";
    return `L${read("level")}${letter} ${read("size")}`;
  });
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function readNumber(path: string): number | undefined {
  const text = readText(path)?.trim();
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}
