import { checkNumber } from "./check.ts";

/** The parameters that both versions of mirostat have, checked. */
export function feedback(
  tau: number,
  eta: number,
  mu: number,
  stage: string,
): { tau: number; eta: number; mu: number } {
  checkNumber(tau, (value) => value >= 0 && value <= 100, "from 0 to 100", `the tau of ${stage}`);
  checkNumber(eta, (value) => value >= 0 && value <= 10, "from 0 to 10", `the eta of ${stage}`);
  const inRange = (value: number) => Math.abs(value) <= 1e6;
  checkNumber(mu, inRange, "from -1000000 to 1000000", `the mu of ${stage}`);
  return { tau, eta, mu };
}
