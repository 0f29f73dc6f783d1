/**
 * Checks of what a caller passes. A field that nobody reads is refused: an option that is silently
 * dropped looks like one that works.
 *
 * @module
 */

/** How a value is named in an error. */
export function found(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > 60 ? value.slice(0, 57) + "…" : value);
  }
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object" && value !== null) {
    const name = value.constructor?.name ?? "object";
    return `${/^[AEIO]/i.test(name) ? "an" : "a"} ${name}`;
  }
  return String(value);
}

/** Refuses fields that are not in `known`. `what` names the function whose options they are. */
export function checkFields(options: unknown, known: readonly string[], what: string): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(
      `Expected an object with the options of ${what}, but found ${found(options)}`,
    );
  }
  for (const field of Object.keys(options)) {
    if (!known.includes(field)) {
      throw new TypeError(
        `Expected an option of ${what} (${known.join(", ")}), but found ${JSON.stringify(field)}`,
      );
    }
  }
}

/** A whole number from `min` to `max`, both included. */
export function checkInteger(value: unknown, min: number, max: number, what: string): number {
  if (typeof value !== "number") {
    throw new TypeError(`Expected ${what} to be a number, but found ${found(value)}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(
      `Expected ${what} to be a whole number from ${min} to ${max}, but found ${value}`,
    );
  }
  return value;
}

/** A finite number that fulfils `holds`; `range` says in words which numbers do. */
export function checkNumber(
  value: unknown,
  holds: (value: number) => boolean,
  range: string,
  what: string,
): number {
  if (typeof value !== "number") {
    throw new TypeError(`Expected ${what} to be a number, but found ${found(value)}`);
  }
  if (!Number.isFinite(value) || !holds(value)) {
    throw new RangeError(`Expected ${what} to be ${range}, but found ${value}`);
  }
  return value;
}

/** `true`, `false` or nothing. */
export function checkBoolean(value: unknown, what: string): boolean | undefined {
  if (value !== undefined && typeof value !== "boolean") {
    throw new TypeError(`Expected ${what} to be true or false, but found ${found(value)}`);
  }
  return value;
}

/** One of the given names, or nothing. */
export function checkChoice<T extends string>(
  value: unknown,
  names: readonly T[],
  what: string,
): T | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") {
    throw new TypeError(
      `Expected ${what} to be one of ${names.join(", ")}, but found ${found(value)}`,
    );
  }
  if (!(names as readonly string[]).includes(value)) {
    throw new RangeError(
      `Expected ${what} to be one of ${names.join(", ")}, but found ${found(value)}`,
    );
  }
  return value as T;
}

/** A side of a KV cache. */
export function checkSide(value: unknown): "key" | "value" {
  const side = checkChoice(value, ["key", "value"], "which");
  if (side === undefined) throw new TypeError("Expected which to be key or value, but found none");
  return side;
}

/** A function, or nothing. */
export function checkFunction(value: unknown, what: string): void {
  if (value !== undefined && typeof value !== "function") {
    throw new TypeError(`Expected ${what} to be a function, but found ${found(value)}`);
  }
}

/** An `AbortSignal`, or nothing. */
export function checkSignal(value: unknown, what: string): AbortSignal | undefined {
  if (value !== undefined && !(value instanceof AbortSignal)) {
    throw new TypeError(`Expected ${what} to be an AbortSignal, but found ${found(value)}`);
  }
  return value;
}

/** Token ids below `vocabulary`, as the engine takes them. */
export function checkTokens(
  tokens: unknown,
  vocabulary: number,
  what: string,
): Uint32Array<ArrayBuffer> {
  if (
    !Array.isArray(tokens) && !(tokens instanceof Uint32Array) && !(tokens instanceof Int32Array)
  ) {
    throw new TypeError(
      `Expected ${what} to be text or an array of token ids, but found ${found(tokens)}`,
    );
  }
  const result = new Uint32Array(tokens.length);
  for (let i = 0; i < tokens.length; i++) {
    result[i] = checkInteger(tokens[i], 0, vocabulary - 1, `${what}[${i}]`);
  }
  return result;
}
