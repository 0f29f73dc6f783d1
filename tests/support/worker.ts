/** A worker that loads the library a second time in the same process, and generates. */
import { greedy, loadModel } from "../../mod.ts";

declare const self: {
  onmessage: ((event: MessageEvent<string>) => void) | null;
  postMessage(message: string): void;
};

self.onmessage = async (event) => {
  try {
    using model = await loadModel(event.data, { threads: 1 });
    using session = model.session({ context: 128 });
    const run = session.generate("the", { sampler: [greedy()], maxTokens: 12, ignoreEnd: true });
    self.postMessage(await run.text());
  } catch (error) {
    self.postMessage(`error: ${error}`);
  }
};
