/**
 * Native handles of models, for functions that take a model beside other things.
 *
 * @module
 */
import { found } from "./check.ts";

const handles = new WeakMap<object, () => number>();

/** Says how a model's handle is found; that may throw when the model is gone. */
export function keepHandle(model: object, handle: () => number): void {
  handles.set(model, handle);
}

/** The handle of a model; 0 for none. */
export function handleOf(model: unknown): number {
  if (model === undefined) return 0;
  const handle = handles.get(model as object);
  if (handle === undefined) {
    throw new TypeError(`Expected model to be a loaded model, but found ${found(model)}`);
  }
  return handle();
}
