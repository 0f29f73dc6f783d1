/** The studies of samplers, in small, on a tiny model: what they compute, and that they run. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bestOf } from "../bench/sampler_studies/min_p.ts";
import type { SamplerStudies } from "../bench/sampler_studies/page.ts";
import { notation } from "../src/internal/sampler_notation.ts";
import { tinyModel } from "./support/tiny_model.ts";

const script = fileURLToPath(new URL("../bench/sampler_studies.ts", import.meta.url));
const runtimeArguments = "Deno" in globalThis ? ["run", "--quiet", "--allow-all"] : ["run"];
const folder = mkdtempSync(join(tmpdir(), "vitrine-studies-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const [json, page] = [join(folder, "found.json"), join(folder, "found.md")];
const model = tinyModel({ context: 1024 });

const studies = suite("studies of samplers");

function run(args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...runtimeArguments, script, model, "--small", ...args], {
    encoding: "utf8",
  });
}

studies("the best of k settings is a mean over all choices", () => {
  const values = [5, 1, 4, 2];
  for (const [i, found] of bestOf(values).entries()) {
    const choices = Array.from(
      { length: 16 },
      (_, mask) => values.filter((_, bit) => mask >> bit & 1),
    )
      .filter((choice) => choice.length === i + 1);
    const expected = choices.reduce((sum, choice) => sum + Math.min(...choice), 0) / choices.length;
    assert.ok(Math.abs(found - expected) < 1e-12, `${found} and ${expected}`);
  }
});

studies("each study runs, its page has all of it, and one can be run again alone", () => {
  const first = run(["--json", json, "--page", page]);
  assert.is(first.status, 0, first.stderr);
  const { studies: found } = JSON.parse(readFileSync(json, "utf8")) as SamplerStudies;
  const has = Object.keys(notation).some((name) => name.startsWith("mirostat"));
  assert.equal(
    found.map(({ id }) => id),
    ["order", "min-p", "top-n-sigma", ...(has ? ["mirostat"] : [])],
  );
  if (!has) assert.match(first.stderr, /left out: mirostat, because the engine has no stage/);
  const text = readFileSync(page, "utf8");
  for (const study of found) {
    assert.ok(study.verdicts.length > 0 && study.tables.every(({ rows }) => rows.length > 0));
    assert.ok(text.includes(`## ${study.title}`));
    for (const { head, rows } of study.tables) {
      for (const row of rows) {
        assert.is(row.length, head.length);
        assert.ok(text.includes(`| ${row.join(" | ")} |`));
      }
    }
  }
  assert.not.match(text, /undefined|NaN/);
  // What is a matter of arithmetic holds for any model.
  for (
    const [id, words] of [["order", /top-k=40|top-n-sigma=1|no order/], [
      "top-n-sigma",
      /same set/,
    ]] as const
  ) {
    const { verdicts } = found.find((study) => study.id === id)!;
    const sure = verdicts.filter((verdict) => words.test(verdict.text));
    assert.ok(sure.length >= 3 && sure.every(({ holds }) => holds), JSON.stringify(sure));
  }
  // The others stay as they are.
  writeFileSync(json, readFileSync(json, "utf8").replaceAll(/"seconds": [\d.]+/g, '"seconds": 7'));
  const again = run(["--json", json, "--only", "top-n-sigma"]);
  assert.is(again.status, 0, again.stderr);
  const { studies: now } = JSON.parse(readFileSync(json, "utf8")) as SamplerStudies;
  assert.equal(
    now.map(({ id, seconds }) => [id, seconds === 7]),
    found.map(({ id }) => [id, id !== "top-n-sigma"]),
  );
  assert.equal(now.map(({ tables }) => tables), found.map(({ tables }) => tables));
  assert.match(run(["--only", "orders"]).stderr, /Expected studies of order, .* found "orders"/);
});

studies.run();
