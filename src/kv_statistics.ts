/** Which keys or values `KvCache.statistics` looks at, and what it calls an outlier. */
export interface KvStatisticsOptions {
  /** Keys or values. */
  readonly which: "key" | "value";
  /** From 0. */
  readonly layer: number;
  /** KV head, from 0; without it all heads. */
  readonly head?: number | undefined;
  /** First position; 0 by default. */
  readonly from?: number | undefined;
  /** Behind the last position; by default all that have keys and values. */
  readonly to?: number | undefined;
  /** `"unrotated"` looks at keys before their rotation; `"decoded"` by default. */
  readonly view?: "decoded" | "unrotated" | undefined;
  /** An outlier is further from the mean than so many standard deviations, more than 0; 3 by default. */
  readonly deviations?: number | undefined;
}

/** Statistics of keys or values: of all of them, of each head, and of each channel of each head. */
export interface KvStatistics {
  /** Positions that were looked at. */
  readonly positions: number;
  readonly whole: KvMoments;
  /** One row a head, in the order of the heads. */
  readonly heads: readonly KvMoments[];
  /** One column a figure, one row a channel: [heads][values of a head]. */
  readonly channels: { readonly [figure in keyof KvMoments]: Float64Array<ArrayBuffer> };
}

/** What describes a set of numbers. All figures are of the finite ones; NaN when there are none. */
export interface KvMoments {
  readonly minimum: number;
  readonly maximum: number;
  readonly mean: number;
  /** The mean square of the distance from the mean. */
  readonly variance: number;
  /** Fourth standardised moment: 3 for a normal distribution; NaN when all numbers are equal. */
  readonly kurtosis: number;
  /** Share of the numbers, from 0 to 1, that are outliers by the set's own mean and deviation. */
  readonly outlierShare: number;
  /**
   * Share of the numbers, from 0 to 1, that are as large as the format can tell. Formats with scales
   * adapt to the largest number, so their share is 0.
   */
  readonly saturation: number;
  /** Share of the numbers, from 0 to 1, that are NaN or infinite. */
  readonly nonFinite: number;
}
