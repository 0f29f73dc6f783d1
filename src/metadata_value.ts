import type { MetadataArray } from "./metadata_array.ts";

/**
 * One value of a file's metadata. Whole numbers beyond 2^53 are `bigint`; arrays are read from the
 * file when they are asked for.
 */
export type MetadataValue = string | number | bigint | boolean | MetadataArray;
