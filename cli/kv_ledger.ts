/**
 * `vitrine kv MODEL ledger`: where the bytes of the KV cache are.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import {
  type KvBytes,
  type KvLedger,
  type KvLedgerColumns,
  KvLedgerLog,
  type Model,
} from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import type { KvAction } from "./kv.ts";
import { readInto, textOf, withTokens } from "./kv_source.ts";
import { sessionOptions, sessionSettings } from "./model.ts";
import { bytesText, print, printJson, snakeCase, table } from "./output.ts";
import { stacks } from "./stacks.ts";

/** The action. */
export const ledgerAction: KvAction = {
  options: [...Object.keys(sessionOptions), "layers"],
  prepare: (ref, given) => {
    const text = textOf(given);
    return (signal) =>
      withTokens(
        ref,
        text,
        given,
        signal,
        (model, tokens) => ledger(model, tokens, given, signal),
      );
  },
};

/** Reads the text and accounts for the cache. */
async function ledger(
  model: Model,
  tokens: Uint32Array,
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const settings = sessionSettings(given);
  using session = model.session({ ...settings, context: settings.context ?? tokens.length });
  const log = new KvLedgerLog({ session });
  log.note();
  await readInto([session], tokens, signal, () => log.note());
  const found = session.kv.ledger();
  const { keyFormat, valueFormat } = session.kv;
  const columns = log.columns();
  const svg = given.text("svg");
  if (svg !== undefined) writeFileSync(svg, chartOf(found, columns, model.info.architecture));
  if (given.has("json")) {
    const { layers, ...all } = found;
    const { rows: _rows, sequence: _sequence, ...history } = columns;
    printJson({
      tokens: session.position,
      key_format: keyFormat,
      value_format: valueFormat,
      ...snakeCase(all),
      layers: layers.map(snakeCase),
      history: snakeCase(
        Object.fromEntries(Object.entries(history).map(([name, column]) => [name, [...column]])),
      ),
    });
    return;
  }
  const layers = given.has("layers") ? found.layers : [];
  print(table([
    ["", "keys", "scales", "values", "scales", "exact", "room in pages", "free", "all"],
    ledgerRow("all", found),
    ...layers.map((row, layer) => ledgerRow(`layer ${layer}`, row)),
  ]));
  const { keyBits, valueBits } = found;
  print(
    `${session.position} tokens; keys ${keyFormat}, ${keyBits} bits a value; ` +
      `values ${valueFormat}, ${valueBits} bits a value\n`,
  );
}

function ledgerRow(name: string, row: KvLedger["layers"][number]): string[] {
  const { keyPayload, keyScales, valuePayload, valueScales, exact, pageSlack, free, bytes } = row;
  return [
    name,
    ...[keyPayload, keyScales, valuePayload, valueScales, exact, pageSlack, free, bytes].map(
      bytesText,
    ),
  ];
}

/** While the text was read, and layer by layer at its end. */
function chartOf(found: KvLedger, columns: KvLedgerColumns, name: string): string {
  const partsOf = (row: Omit<KvBytes, "bytes">) => [
    ...[row.keyPayload, row.keyScales, row.valuePayload, row.valueScales],
    ...[row.exact, row.pageSlack, row.free],
  ];
  const steps = [...columns.positions.keys()];
  const over = steps.map((step) =>
    partsOf({
      keyPayload: columns.keyPayload[step] as number,
      keyScales: columns.keyScales[step] as number,
      valuePayload: columns.valuePayload[step] as number,
      valueScales: columns.valueScales[step] as number,
      exact: columns.exact[step] as number,
      pageSlack: columns.pageSlack[step] as number,
      free: columns.free[step] as number,
    })
  );
  return stacks({
    title: `KV cache of ${name}: where its bytes are`,
    names: [
      ...["keys", "their scales", "values", "their scales", "at full precision too"],
      ...["room in pages", "free"],
    ],
    panels: [
      { name: "over time", x: "tokens read", at: [...columns.positions], bars: over },
      {
        name: "by layer, at the end",
        x: "layer",
        at: [...found.layers.keys()],
        bars: found.layers.map(partsOf),
      },
    ],
  });
}
