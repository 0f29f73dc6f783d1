/** The error that a call throws or is rejected with; one that gives a result fails the test. */
export async function rejection(body: Promise<unknown> | (() => unknown)): Promise<Error> {
  try {
    await (typeof body === "function" ? body() : body);
  } catch (error) {
    if (error instanceof Error) return error;
    throw new Error(`Expected an Error to be thrown, but found ${String(error)}`);
  }
  throw new Error("Expected an error, but found a result");
}
