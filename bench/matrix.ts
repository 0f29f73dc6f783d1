/**
 * The matrix: models × formats × CPU variants × workloads, each row in turns with the peer. What
 * doesn't fit or isn't there makes a row too, with the reason.
 *
 * @module
 */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { engineInfo, type MachineLimits } from "../mod.ts";
import { choosePeer, isPossible } from "./choose.ts";
import { attention, depth, depthFormats } from "./depth.ts";
import { generateModel } from "./generate.ts";
import { limitsOfVariant } from "./limits.ts";
import { availableMemory, describeMachine } from "./machine.ts";
import { loading } from "./loading.ts";
import { Pair, type Patience, type Starter } from "./pair.ts";
import { nativePeerName, startNativePeer } from "./native_peer.ts";
import { peerName } from "./peer.ts";
import type { FoundSetting, Result, Row, Workload } from "./result.ts";
import { type FileFormat, shapes, workOf } from "./shapes.ts";
import { samplerRow } from "./sampling.ts";
import { startingRows } from "./starting.ts";
import { streaming } from "./streaming.ts";
import {
  ourStarter,
  type PeerChoice,
  peerStarter,
  type Sizes,
  starterOf,
  type Subject,
} from "./subject.ts";
import { tokenizerRow } from "./tokenizing.ts";
import { batch, chat, decode, memory, prefill } from "./workloads.ts";

/** What is run. */
export interface Plan {
  readonly models: readonly string[];
  readonly formats: readonly FileFormat[];
  /** Names of CPU variants, "best" among them; nothing: the best one, and those with a target. */
  readonly variants: readonly string[] | undefined;
  /** Workloads that were asked for; nothing: each where it says something new. */
  readonly only: readonly Workload[] | undefined;
  readonly threads: number | undefined;
  /** Memory that is read to measure the bandwidth; nothing: as much as is right. */
  readonly mebibytes: number | undefined;
  readonly rounds: number;
  /** How long a row may take, about. */
  readonly seconds: number;
  readonly sizes: Sizes;
  /** Peers beside us: the prebuilt package, a native build. */
  readonly peers: readonly ("prebuilt" | "native")[];
  /** A result to go on with: what it has isn't measured again. */
  readonly resume: Result | undefined;
  /** Where generated models are kept. */
  readonly folder: string;
  /** Whether large ones stay there. */
  readonly keep: boolean;
  readonly signal: AbortSignal;
}

/** Who is told what happens. */
export interface Listener {
  /** A sentence for people. */
  say(text: string): void;
  /** After each row, so that nothing is lost when a long run is ended. */
  row(row: Row, result: Result): void;
}

/** Files above this size are deleted when they have been measured. */
const largeBytes = 2.5e9;
const ownSystemBytes = 1e9;
/** How long limits hold before they are measured again. */
const freshMs = 3000;

/** Whether a workload says something new for this model and format, when nobody asked for it. */
export function isDefault(
  workload: Workload,
  model: string,
  format: string,
  forced: boolean,
): boolean {
  const small = model === "tinyllama-1.1b";
  switch (workload) {
    case "prefill":
    case "decode":
      return true;
    case "depth":
      return small && format === "Q4_0";
    case "attention":
      return model === "llama-2-7b" && format === "Q4_0" && !forced;
    case "load":
    case "memory":
      return !forced;
    case "batch":
      return !forced && small && (format === "Q4_0" || format === "Q4_K_M");
    case "chat":
    case "stream":
      return !forced && small && format === "Q4_0";
    case "start":
    case "sampler":
    case "tokenizer":
      return !forced;
  }
}

/** Runs the plan. */
export async function runMatrix(plan: Plan, listener: Listener): Promise<Result> {
  const info = await engineInfo();
  const rows: Row[] = complete(plan.resume?.rows ?? []);
  const limits: Record<string, MachineLimits> = { ...plan.resume?.limits };
  const settings: Record<string, FoundSetting> = { ...plan.resume?.settings };
  const now = new Date().toISOString();
  const result: { -readonly [key in keyof Result]: Result[key] } = {
    version: 1,
    when: plan.resume?.when ?? now,
    ...(plan.resume && { continued: [...plan.resume.continued ?? [], now] }),
    engine: info.version,
    threads: 0,
    machine: describeMachine(),
    limits,
    settings,
    rows,
  };
  const add = (row: Row) => {
    rows.push(row);
    listener.row(row, result);
  };
  const best = limitsOfVariant("", plan.threads, plan.mebibytes);
  result.threads = best.threads;
  const variants = variantsOf(plan, best, limits);
  const known = new Set(rows.map(keyOf));
  const wants = (workload: Workload) =>
    (plan.only?.includes(workload) ?? true) && !known.has(keyOf({ workload }));
  if (wants("start")) {
    try {
      for (const row of await startingRows(plan, listener)) add(row);
    } catch (error) {
      add(await attempt("start", {}, () => Promise.reject(error)));
    }
  }
  if (wants("sampler")) add(await attempt("sampler", {}, () => samplerRow(plan, listener)));
  if (wants("tokenizer")) add(await attempt("tokenizer", {}, () => tokenizerRow(plan, listener)));
  for (const model of plan.models) {
    for (const format of plan.formats) {
      const chosen = (workload: Workload, variant: Variant | undefined) =>
        (plan.only?.includes(workload) ??
          isDefault(workload, model, format, variant?.forced ?? false)) &&
        !known.has(keyOf({ workload, model, format, ...(variant && { variant: variant.name }) }));
      const { cacheFormats } = info;
      const found = { limits, settings, cacheFormats };
      await measureFile(plan, model, format, variants, chosen, found, listener, add);
    }
  }
  return result;
}

function keyOf({ workload, model, format, variant }: Partial<Row>): string {
  return [workload, model, format, variant].filter(Boolean).join(" ");
}

/** Rows of workloads that were finished: one that makes several rows may have been ended within. */
function complete(rows: readonly Row[]): Row[] {
  const several: Partial<Record<Workload, number>> = { batch: 4, depth: 2, attention: 2 };
  const count = (row: Row) => rows.filter((other) => keyOf(other) === keyOf(row)).length;
  return rows.filter((row) => count(row) >= (several[row.workload] ?? 1));
}

/** What is found out once and holds for what is measured later. */
interface Found {
  readonly limits: Record<string, MachineLimits>;
  readonly settings: Record<string, FoundSetting>;
  readonly cacheFormats: readonly string[];
}

/** A CPU variant, and whether it is another than the engine would take. */
interface Variant {
  readonly name: string;
  readonly forced: boolean;
}

/** The variants of a plan, each once; measures their limits. */
function variantsOf(
  plan: Plan,
  best: MachineLimits,
  limits: Record<string, MachineLimits>,
): Variant[] {
  const variants: Variant[] = [];
  for (const word of plan.variants ?? ["best", "avx512_vnni", "avx2"]) {
    const name = word === "best" ? best.cpuVariant : word;
    if (variants.some((variant) => variant.name === name)) continue;
    try {
      const found = name === best.cpuVariant
        ? best
        : limitsOfVariant(name, plan.threads, plan.mebibytes);
      limits[name] = better(limits[name], found);
      variants.push({ name, forced: name !== best.cpuVariant });
    } catch (error) {
      // Nobody asked for what the machine lacks.
      if (plan.variants !== undefined) throw error;
    }
  }
  return variants;
}

/** A row, or one that says why there is none. */
async function attempt(
  workload: Workload,
  of: { model?: string; format?: string; variant?: string },
  measure: () => Promise<Row>,
): Promise<Row> {
  try {
    return await measure();
  } catch (error) {
    if (!(error instanceof Error) || error.name === "AbortError") throw error;
    return { workload, title: workload, unit: "", ...of, skipped: error.message };
  }
}

async function measureFile(
  plan: Plan,
  model: string,
  format: FileFormat,
  variants: readonly Variant[],
  chosen: (workload: Workload, variant: Variant | undefined) => boolean,
  found: Found,
  listener: Listener,
  add: (row: Row) => void,
): Promise<void> {
  const shape = shapes[model];
  if (shape === undefined) throw new RangeError(`Expected a known model, but found ${model}`);
  const work = workOf(shape, format);
  const fit = fits(work.fileBytes);
  if (!fit.ours) {
    const skipped = `needs ${gigabytes(fit.needed)} of memory, found ${gigabytes(fit.found)}`;
    for (const workload of ["prefill", "decode"] as const) {
      if (!chosen(workload, undefined)) continue;
      add({ workload, title: workload, model, format, unit: "tok/s", skipped });
    }
    return;
  }
  const perFile: Workload[] = [
    ...["load", "prefill", "decode", "batch", "chat", "stream", "memory", "depth", "attention"],
  ] as Workload[];
  const wanted = (variant: Variant) => perFile.filter((workload) => chosen(workload, variant));
  if (variants.every((variant) => wanted(variant).length === 0)) return;
  const path = join(plan.folder, `bench-${model}-${format}.gguf`);
  const isNew = !existsSync(path);
  if (isNew) listener.say(`writing ${path} (${gigabytes(work.fileBytes)})`);
  generateModel(path, model, shape, format);
  try {
    for (const variant of variants) {
      const list = wanted(variant);
      if (list.length === 0) continue;
      const file = { model, format, shape, work, path, fit };
      await measureVariant(plan, file, variant, list, found, listener, add);
    }
  } finally {
    if (isNew && !plan.keep && work.fileBytes > largeBytes) rmSync(path, { force: true });
  }
}

/** A file and what is known of it. */
interface MeasuredFile {
  readonly model: string;
  readonly format: FileFormat;
  readonly shape: Subject["shape"];
  readonly work: Subject["work"];
  readonly path: string;
  readonly fit: { both: boolean; repacked: boolean };
}

async function measureVariant(
  plan: Plan,
  file: MeasuredFile,
  variant: Variant,
  list: readonly Workload[],
  known: Found,
  listener: Listener,
  add: (row: Row) => void,
): Promise<void> {
  const { model, format, shape, work, path, fit } = file;
  const { limits, settings, cacheFormats } = known;
  const { name, forced } = variant;
  const { say } = listener;
  const find = () => {
    const found = limitsOfVariant(name, plan.threads, plan.mebibytes ?? mebibytesFor(work));
    limits[found.cpuVariant] = better(limits[found.cpuVariant], found);
    return found;
  };
  const fresh = find();
  const { threads, cpuVariant } = fresh;
  let last = { found: fresh, at: performance.now() };
  const look = () => {
    if (performance.now() - last.at > freshMs) last = { found: find(), at: performance.now() };
    return last.found;
  };
  const { rounds, seconds, signal } = plan;
  const patience: Patience = { rounds, seconds, signal, look };
  const repacks = format === "F16" ? [true] : fit.repacked ? [true, false] : [false];
  await using pair = new Pair(ourStarter(path, threads, cpuVariant, say), fit.both, patience);
  const prebuilt = (repack: boolean) => peerStarter(path, threads, cpuVariant, repack, say);
  // What is fastest lies in the kernels of a format; the first model that is measured tells it.
  const settle = async (
    peer: string,
    start: (repack: boolean) => Starter,
  ): Promise<PeerChoice> => {
    const key = `${peer}, ${format}, ${cpuVariant}`;
    const earlier = settings[key];
    const choice = earlier !== undefined && isPossible(earlier, repacks)
      ? earlier
      : settings[key] = await choosePeer(pair, peer, model, start, repacks);
    return { name: peer, start, prefill: choice.prefill, decode: choice.decode };
  };
  const subject: Subject = {
    ...{ model, format, shape, work, path, threads, pair, patience, say, cacheFormats },
    variant: cpuVariant,
    best: !forced,
    sizes: plan.sizes,
    peer: plan.peers.includes("prebuilt") ? await settle(peerName, prebuilt) : undefined,
  };
  const nativeOne = (repack: boolean) =>
    starterOf(
      ["native", path, threads, repack],
      () => startNativePeer(path, threads, repack, say),
    );
  // A native build has no variants to force.
  const native = plan.peers.includes("native") && !forced
    ? await settle(nativePeerName, nativeOne)
    : undefined;
  await measureSubject(subject, native, list, listener, add);
}

/** Which engines fit: ours, both at once, and both with a second copy of the peer's weights. */
function fits(
  bytes: number,
): { ours: boolean; both: boolean; repacked: boolean; needed: number; found: number } {
  const found = availableMemory();
  const room = found - ownSystemBytes;
  return {
    ours: room > 1.15 * bytes,
    both: room > 2.25 * bytes,
    repacked: room > 3.25 * bytes,
    needed: 1.15 * bytes + ownSystemBytes,
    found,
  };
}

/**
 * As much memory as the weights take, up to 4 GiB: virtual machines read large ranges more slowly. What
 * takes less than a gigabyte is measured with what is usual.
 */
function mebibytesFor(work: Subject["work"]): number | undefined {
  return work.tokenBytes < 1e9 ? undefined : Math.min(4096, Math.ceil(work.tokenBytes / 2 ** 20));
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Of two measurements the better rates: what was reached once is possible. */
function better(a: MachineLimits | undefined, b: MachineLimits): MachineLimits {
  return a === undefined || b.readBytes > a.readBytes ? b : a;
}

/** Workloads that every peer's driver knows. */
const loops: readonly Workload[] = ["prefill", "decode", "batch", "chat", "depth"];

async function measureSubject(
  subject: Subject,
  native: PeerChoice | undefined,
  list: readonly Workload[],
  listener: Listener,
  add: (row: Row) => void,
): Promise<void> {
  const { model, format, variant } = subject;
  let prefillRate: number | undefined;
  const one = async (workload: Workload, measure: (subject: Subject) => Promise<Row>) => {
    listener.say(`${model} ${format} ${variant}: ${workload}`);
    const of = { model, format, variant };
    let row = await attempt(workload, of, () => measure(subject));
    if (workload === "prefill") prefillRate = row.ours?.median;
    if (native !== undefined && row.ours !== undefined && loops.includes(workload)) {
      listener.say(`${model} ${format} ${variant}: ${workload}, native peer`);
      const { peer } = await attempt(workload, of, () => measure({ ...subject, peer: native }));
      if (peer !== undefined) row = { ...row, native: peer };
    }
    add(row);
  };
  const many = async (workload: Workload, measure: (subject: Subject) => Promise<Row[]>) => {
    listener.say(`${model} ${format} ${variant}: ${workload}`);
    try {
      for (const row of await measure(subject)) add(row);
    } catch (error) {
      add(await attempt(workload, { model, format, variant }, () => Promise.reject(error)));
    }
  };
  for (const workload of list) {
    if (workload === "load") await many(workload, loading);
    else if (workload === "prefill") await one(workload, prefill);
    else if (workload === "decode") await one(workload, decode);
    else if (workload === "chat") await one(workload, chat);
    else if (workload === "memory") await one(workload, memory);
    else if (workload === "stream") await many(workload, streaming);
    else if (workload === "attention") await many(workload, attention);
    else if (workload === "depth") {
      for (const kv of depthFormats) await one(workload, (of) => depth(of, kv));
    } else if (workload === "batch") {
      for (const n of [1, 4, 8, 16]) await one(workload, (of) => batch(of, n, prefillRate));
    }
  }
}
