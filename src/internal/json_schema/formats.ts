/**
 * Formats of strings as GBNF: those that a grammar can follow exactly (RFC 3339 without leap seconds,
 * RFC 9562).
 *
 * @module
 */

const fourth = `"0" [48] | [2468] [048] | [13579] [26]`;
const leapYear = `([0-9] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | ("00" | ${fourth}) "00")`;
const day28 = `("0" [1-9] | "1" [0-9] | "2" [0-8])`;
const days30 =
  `(("0" [469] | "11") "-" (${day28} | "29" | "30") | ("0" [13578] | "10" | "12") "-" (${day28} | "29" | "30" | "31"))`;
const date = `([0-9]{4} "-" (${days30} | "02-" ${day28}) | ${leapYear} "-02-29")`;
const hourMinute = `("0" [0-9] | "1" [0-9] | "2" [0-3]) ":" [0-5] [0-9]`;
const time = `${hourMinute} ":" [0-5] [0-9] ("." [0-9]{1,9})? ("Z" | [+-] ${hourMinute})`;
const hex = "[0-9a-fA-F]";

/** Contents of strings by the name of their format. */
export const formats: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date} "T" ${time}`,
  uuid: `${hex}{8} "-" ${hex}{4} "-" ${hex}{4} "-" ${hex}{4} "-" ${hex}{12}`,
};
