/** `vitrine kv`: dumps that other programs read, differences, and the charts of every action. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { crc32, inflateSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heatMap } from "../cli/heat_map.ts";
import { stacks } from "../cli/stacks.ts";
import { diffKv, loadModel, readSnapshot } from "../mod.ts";
import { tinyModel } from "./support/tiny_model.ts";

const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];

/** Runs `vitrine kv` to its end. */
function run(args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...runtimeArguments, main, "kv", ...args], {
    encoding: "utf8",
  });
}

/** Runs what must succeed, and parses its JSON. */
// deno-lint-ignore no-explicit-any
function json(args: string[]): any {
  const { status, stdout, stderr } = run([...args, "--json"]);
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}

const folder = mkdtempSync(join(tmpdir(), "vitrine-cli-kv-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
/** Two layers, two KV heads of 32 values. */
const model = tinyModel({ embedding: 128 });
const text = at("text.txt");
writeFileSync(text, "it was the best of times ".repeat(6));
const few = ["--file", text, "-n", "70"];
const saved = { wide: at("wide.session"), narrow: at("narrow.session") };

const kv = suite("vitrine kv");

kv.before(async () => {
  using loaded = await loadModel(model, { threads: 1 });
  const tokens = loaded.tokenize(readFileSync(text, "utf8"), { parseSpecial: false });
  for (const [name, format] of [["wide", "f32"], ["narrow", "q4_1"]] as const) {
    using session = loaded.session({ context: 128, kv: { key: format, value: format } });
    await session.prefill(tokens.slice(0, 70));
    await session.save(saved[name]);
  }
});

/** What numpy's file says, and where its numbers begin. */
function npy(file: string): { type: string; shape: number[]; data: Uint8Array<ArrayBuffer> } {
  const bytes = new Uint8Array(readFileSync(file));
  assert.equal([...bytes.subarray(0, 8)], [0x93, 78, 85, 77, 80, 89, 1, 0]);
  const length = 10 + bytes[8]! + 256 * bytes[9]!;
  assert.is(length % 64, 0);
  const header = new TextDecoder().decode(bytes.subarray(10, length));
  const [, type, shape] =
    /^\{'descr': '(.*?)', 'fortran_order': False, 'shape': \((.*?)\), \} *\n$/.exec(header) ?? [];
  return {
    type: type as string,
    shape: (shape as string).split(", ").map(Number),
    data: bytes.slice(length),
  };
}

kv("dumps of a saved session have the numbers of the file, in every form", () => {
  using snapshot = readSnapshot(saved.narrow);
  const part = ["--which", "key", "--layer", "1", "--from", "60"];
  const keys = snapshot.read({ which: "key", layer: 1, from: 60 });

  const array = at("keys.npy");
  assert.is(run([saved.narrow, "dump", ...part, "--out", array]).status, 0);
  const found = npy(array);
  assert.equal([found.type, found.shape], ["<f4", [1, 2, 10, 32]]);
  assert.equal(new Float32Array(found.data.buffer), keys);

  const table = run([saved.narrow, "dump", ...part]).stdout.trimEnd().split("\n");
  assert.match(table[0]!, /^which,layer,head,position,v0,.*,v31$/);
  assert.is(table.length, 1 + 20);
  const cells = table[1 + 10 + 3]!.split(",");
  assert.equal(cells.slice(0, 4), ["key", "1", "1", "63"]);
  assert.equal(Float32Array.from(cells.slice(4), Number), keys.slice(13 * 32, 14 * 32));

  const whole = json([saved.narrow, "dump", ...part]);
  assert.equal([whole.view, whole.from, whole.to], ["decoded", 60, 70]);
  assert.equal(whole.tokens, [...snapshot.tokens().subarray(60)]);
  const [, second] = whole.parts;
  assert.equal([second.which, second.layer, second.head, second.format], ["key", 1, 1, "q4_1"]);
  assert.equal(Float32Array.from(second.values.flat()), keys.slice(320));

  // Raw: codes, and scales and minimums in files beside them.
  const codes = at("codes.npy");
  const written = json([saved.narrow, "dump", ...part, "--view", "raw", "--out", codes]);
  const others = ["codes.scales.npy", "codes.minimums.npy"].map(at);
  assert.equal(written.files, [codes, ...others]);
  const raw = snapshot.read({ which: "key", layer: 1, from: 60, view: "raw" });
  assert.is(npy(codes).type, "|u1");
  assert.equal(npy(codes).data, raw.codes);
  for (const [i, terms] of [raw.scales, raw.minimums].entries()) {
    const { type, shape, data } = npy(others[i]!);
    assert.equal([type, shape], ["<f2", [1, 2, 10, 1]]);
    assert.equal(new Uint16Array(data.buffer), terms);
  }
  const rows = run([saved.narrow, "dump", ...part, "--view", "raw"]).stdout.split("\n");
  assert.match(rows[0]!, /,v31,scale0,minimum0$/);
  const [code, scale, minimum] = [4, 36, 37].map((i) => Number(rows[1]!.split(",")[i])) as [
    number,
    number,
    number,
  ];
  assert.is(Math.fround(Math.fround(code * scale) + minimum), keys[0]);
});

kv("a model reads a text and dumps what a session holds", async () => {
  const chart = at("dump.svg");
  const args = [model, "dump", ...few, "--key-format", "f32", "--which", "key", "--layer", "0"];
  const dumped = json([...args, "--view", "unrotated", "--threads", "1", "--svg", chart]);
  using loaded = await loadModel(model, { threads: 1 });
  using session = loaded.session({ context: 128, kv: { key: "f32" } });
  await session.prefill(
    loaded.tokenize(readFileSync(text, "utf8"), { parseSpecial: false }).slice(0, 70),
  );
  const keys = session.kv.read({ which: "key", layer: 0, view: "unrotated" });
  assert.equal(
    Float32Array.from(dumped.parts.flatMap((p: { values: number[][] }) => p.values.flat())),
    keys,
  );
  const picture = readFileSync(chart, "utf8");
  assert.match(picture, /keys before their rotation.*keys, layer 0, head 1/s);
  // Each head is a picture of 70 rows of 32 pixels.
  const [, second] = [...picture.matchAll(/href="data:image\/png;base64,([^"]*)"/g)]
    .map(([, text]) => pixelsOf(Uint8Array.from(atob(text!), (c) => c.charCodeAt(0))));
  assert.equal([second!.width, second!.height], [32, 70]);
  const most = keys.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  const shade = (value: number) => Math.round((value / most + 1) / 2 * 253);
  assert.equal([...second!.pixels], [...keys.slice(70 * 32)].map(shade));
});

/** The numbers of the colours of a picture, by the decoder of the runtime. */
function pixelsOf(png: Uint8Array): { width: number; height: number; pixels: Uint8Array } {
  const view = new DataView(png.buffer);
  const parts: Buffer[] = [];
  let [width, height] = [0, 0];
  for (let at = 8; at < png.length; at += 12 + view.getUint32(at)) {
    const name = String.fromCharCode(...png.subarray(at + 4, at + 8));
    const body = png.subarray(at + 8, at + 8 + view.getUint32(at));
    assert.is(
      view.getUint32(at + 8 + body.length),
      crc32(png.subarray(at + 4, at + 8 + body.length)),
    );
    if (name === "IHDR") [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (name === "IDAT") parts.push(Buffer.from(body));
  }
  const rows = inflateSync(Buffer.concat(parts));
  const pixels = rows.filter((_, i) => i % (width + 1) !== 0);
  return { width, height, pixels: Uint8Array.from(pixels) };
}

kv("differences of saved sessions and of two caches of a text", () => {
  const chart = at("diff.svg");
  const found = json([saved.wide, "diff", saved.narrow, "--svg", chart]);
  const diff = diffKv(saved.wide, saved.narrow);
  assert.equal([found.from, found.to, found.same_tokens], [0, 70, 70]);
  assert.is(found.rows.length, 8);
  for (const [i, row] of found.rows.entries()) {
    assert.equal(
      [row.layer, row.head, row.which === "key" ? 0 : 1, row.relative, row.worst, row.equal],
      [diff.layer[i], diff.head[i], diff.which[i], diff.relative[i], diff.worst[i], false],
    );
  }
  assert.match(readFileSync(chart, "utf8"), /keys.*values.*relative error/s);
  const people = run([saved.wide, "diff", saved.wide, "--which", "value", "--head", "1"]);
  assert.match(people.stdout, /layer +head .*\n +0 +1 +value +0 .*same bits/);
  assert.match(people.stderr, /same bits in 2 of 2 rows/);
  const caches = json([model, "diff", ...few, "--formats", "q8_0/f32", "--layer", "0"]);
  assert.equal([caches.expected, caches.found, caches.rows.length], ["f32/f32", "q8_0/f32", 4]);
  // Values of the first layer don't depend on any cache.
  assert.equal(caches.rows.map((row: { equal: boolean }) => row.equal), [false, false, true, true]);
});

kv("ledgers over time, and the charts of ledger and compare", () => {
  const [bytes, points] = [at("ledger.svg"), at("compare.svg")];
  const ledger = json([model, "ledger", ...few, "--ctx", "200", "--svg", bytes]);
  assert.equal(ledger.history.positions, [0, 64, 70]);
  assert.is(ledger.history.free[0], ledger.bytes);
  assert.is(ledger.history.key_payload[2], ledger.key_payload);
  assert.is(ledger.history.page_slack[2], ledger.page_slack);
  assert.match(readFileSync(bytes, "utf8"), /where its bytes are.*over time.*by layer/s);
  const formats = ["--formats", "f16,q4_0/f16,f16/int4"];
  const compared = json([model, "compare", ...few, ...formats, "--svg", points]);
  assert.is(compared.candidates[2].bits_per_value, 10.5);
  const { stderr } = run([model, "compare", ...few, "--formats", "int4"]);
  assert.match(stderr, /candidates\[0\] to keep at least 32 recent tokens.*int4/);
  assert.ok(compared.candidates[1].layers[1].attention_error > 0);
  const chart = readFileSync(points, "utf8");
  assert.match(chart, />f16<.*|>q4_0\/f16</s);
  assert.is(chart.match(/<circle /g)!.length, 3);
});

kv("charts have a place for what is no size", () => {
  const panel = { name: "p", rows: 1, columns: 4, values: [0, 1e-3, NaN, Infinity] };
  const map = heatMap({
    ...{ title: "a < b", x: "x", y: "y", legend: "l", scale: "logarithmic", panels: [panel] },
  });
  assert.match(map, /a &lt; b/);
  assert.is(map.match(/fill="#000000"/g)!.length, 2);
  assert.not.match(map, /NaN|undefined/);
  const none = heatMap({
    ...{ title: "", x: "", y: "", legend: "", scale: "signed" },
    panels: [{ ...panel, values: [0, 0, 0, 0] }],
  });
  assert.not.match(none, /NaN|undefined/);
  const empty = stacks({
    title: "t",
    names: ["a"],
    panels: [{ name: "p", x: "x", at: [0], bars: [[0]] }],
  });
  assert.not.match(empty, /NaN|undefined|Infinity/);
});

kv("what doesn't fit is refused, and leaves no file", () => {
  const out = at("never.npy");
  const wrong: [string[], RegExp][] = [
    [
      [model, "dump"],
      /Expected --file with a text, as .* is no file of saved sessions, but found none/,
    ],
    [[model, "dump", ...few, "--out", "keys.bin"], /ends in \.csv, \.json or \.npy, .*"keys\.bin"/],
    [[model, "dump", ...few, "--out", out], /--which key or --which value for one array/],
    [[model, "dump", ...few, "--view", "unrotated"], /--which key with --view unrotated/],
    [[model, "dump", ...few, "--view", "rw"], /Expected decoded or unrotated or raw/],
    [[saved.wide, "dump", "--layer", "2"], /numbers from 0 to 1 after --layer.*found "2"/],
    [[saved.wide, "dump", "--head", "1-0"], /numbers from 0 to 1 after --head/],
    [[saved.wide, "dump", "--to", "71"], /number from 1 to 70 after --to/],
    [[saved.wide, "dump", "--sequence", "1"], /--sequence from 0 to 0, but found 1/],
    [[saved.wide, "dump", "--which", "key", "--view", "unrotated"], /model to take the rotation/],
    [[saved.wide, "dump", ...few], /saved session or --file .* found both/],
    [[saved.wide, "dump", "--kl", "1"], /option of kv dump, but found --kl/],
    [[model, "ledger", ...few, "--view", "raw"], /option of kv ledger, but found --view/],
    [[model, "ledger", "compare"], /nothing after ledger, but found "compare"/],
    [[saved.wide, "diff"], /second saved session/],
    [[saved.wide, "diff", model], /Expected a saved session, but found/],
    [[saved.wide, "diff", saved.narrow, "--file", text], /saved sessions alone, but found --file/],
    [[model, "diff", ...few], /Expected --formats with the cache to look at/],
    [[model, "dif", ...few], /did you mean diff\?/],
  ];
  for (const [args, words] of wrong) {
    const { status, stderr } = run(args);
    assert.is(status, 2, stderr);
    assert.match(stderr, words);
  }
  assert.not.ok(existsSync(out));
  const many = run([saved.wide, "dump", "--svg", at("many.svg"), "--out", at("many.csv")]);
  // Eight heads fit.
  assert.is(many.status, 0, many.stderr);
  const gone = run([at("none.session"), "dump", ...few]);
  assert.is(gone.status, 1);
});

kv.run();
