/**
 * `vitrine kv MODEL ledger`: where the bytes of the KV cache are.
 *
 * @module
 */

import type { KvLedger, Model } from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import { sessionSettings } from "./model.ts";
import { bytesText, print, printJson, ProgressBar, snakeCase, table } from "./output.ts";

/** Reads the text and accounts for the cache. */
export async function ledger(
  model: Model,
  tokens: Uint32Array,
  given: Arguments,
  signal: AbortSignal,
): Promise<void> {
  const settings = sessionSettings(given);
  using session = model.session({ ...settings, context: settings.context ?? tokens.length });
  const bar = new ProgressBar((value) => `${value} tokens`);
  try {
    const onPrefill = ({ done, total }: { done: number; total: number }) =>
      bar.show("reading", done, total);
    await session.prefill(tokens, { signal, onPrefill });
  } finally {
    bar.end();
  }
  const found = session.kv.ledger();
  const { keyFormat, valueFormat } = session.kv;
  if (given.has("json")) {
    const { layers, ...all } = found;
    printJson({
      tokens: session.position,
      key_format: keyFormat,
      value_format: valueFormat,
      ...snakeCase(all),
      layers: layers.map(snakeCase),
    });
    return;
  }
  const layers = given.has("layers") ? found.layers : [];
  print(table([
    ["", "keys", "scales", "values", "scales", "room in pages", "free", "all"],
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
  const { keyPayload, keyScales, valuePayload, valueScales, pageSlack, free, bytes } = row;
  return [
    name,
    ...[keyPayload, keyScales, valuePayload, valueScales, pageSlack, free, bytes].map(bytesText),
  ];
}
