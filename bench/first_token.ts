/**
 * A script as short as a user's first: loads a model, writes one token, ends. `starting.ts` takes its time.
 *
 * usage: first_token.ts MODEL
 *
 * @module
 */

import process from "node:process";
import { greedy, loadModel } from "../mod.ts";

using model = await loadModel(process.argv[2] ?? "smollm2");
using session = model.session();
for await (
  const step of session.generate("The future of AI is", { sampler: [greedy()], maxTokens: 1 })
) process.stdout.write(`${step.text}\n`);
