import type { AttentionRows } from "./attention_rows.ts";
import { checkFields, checkInteger, found } from "./internal/check.ts";

/** What `attentionStatistics` counts. */
export interface AttentionStatisticsOptions {
  /** Positions at the beginning that count as sinks; 4 by default. */
  readonly sinks?: number | undefined;
}

/** What attention looks at, query by query and head by head. */
export interface AttentionStatistics {
  /** [rows][heads]: entropy of a row in nats, from 0 (one position) to ln of the positions that it sees. */
  readonly entropy: Float64Array<ArrayBuffer>;
  /** [rows][heads]: attention that goes to the sinks, from 0 to 1. */
  readonly sinkMass: Float64Array<ArrayBuffer>;
  /**
   * [heads][positions]: attention that goes so many positions back, 0 being the query's own, as a mean over
   * the queries that have a position there.
   */
  readonly distance: Float64Array<ArrayBuffer>;
  /** [heads][positions]: attention that each position was paid by all queries together. */
  readonly received: Float64Array<ArrayBuffer>;
}

/**
 * Describes attention: how spread out it is, how much of it the first tokens draw (Xiao et al. 2023,
 * "Efficient Streaming Language Models with Attention Sinks"), how far back it looks, and what each position
 * got (the score by which H2O keeps tokens: Zhang et al. 2023).
 *
 * @param attention What `KvCache.attention` returned.
 * @param options What counts as a sink.
 *
 * @example
 * ```ts
 * import { attentionStatistics, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * using recording = session.record(["blocks.1.q"]);
 * await session.prefill("The lighthouse at the end of the world");
 * const attention = session.kv.attention(recording.get("blocks.1.q"));
 * const { entropy, sinkMass } = attentionStatistics(attention, { sinks: 1 });
 * console.log(entropy.slice(-attention.heads), sinkMass.slice(-attention.heads)); // of the last token
 * ```
 */
export function attentionStatistics(
  attention: AttentionRows,
  options: AttentionStatisticsOptions = {},
): AttentionStatistics {
  checkFields(options, ["sinks"], "options");
  if (!(attention?.weights instanceof Float32Array)) {
    throw new TypeError(
      `Expected attention as KvCache.attention returns it, but found ${found(attention)}`,
    );
  }
  const { rows, heads, positions, position, weights } = attention;
  const sinks = options.sinks === undefined ? 4 : checkInteger(options.sinks, 0, 1 << 20, "sinks");
  const entropy = new Float64Array(rows * heads);
  const sinkMass = new Float64Array(rows * heads);
  const distance = new Float64Array(heads * positions);
  const received = new Float64Array(heads * positions);
  for (let row = 0; row < rows; row++) {
    const own = position + row;
    for (let head = 0; head < heads; head++) {
      const at = row * heads + head;
      for (let p = 0; p <= own; p++) {
        const weight = weights[at * positions + p] as number;
        if (weight === 0) continue;
        entropy[at]! -= weight * Math.log(weight);
        if (p < sinks) sinkMass[at]! += weight;
        distance[head * positions + own - p]! += weight;
        received[head * positions + p]! += weight;
      }
    }
  }
  for (let back = 0; back < positions; back++) {
    // Queries before that position have nothing so far behind them.
    const queries = Math.min(rows, positions - back);
    for (let head = 0; head < heads; head++) distance[head * positions + back]! /= queries;
  }
  return { entropy, sinkMass, distance, received };
}
