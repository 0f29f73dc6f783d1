import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/**
 * The folder that downloaded models are kept in: `VITRINE_CACHE`, or `vitrine` in the user's cache
 * folder. It may not exist yet.
 */
export function cacheFolder(): string {
  const own = process.env["VITRINE_CACHE"];
  if (own) return own;
  const base = process.env["XDG_CACHE_HOME"];
  return base ? join(base, "vitrine") : join(process.env["HOME"] || homedir(), ".cache", "vitrine");
}
