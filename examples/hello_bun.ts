#!/usr/bin/env bun
// bun run examples/hello_bun.ts
import process from "node:process";
import { loadModel, temperature, topP } from "../mod.ts";

using model = await loadModel("smollm2");
using session = model.session();
const sampler = [temperature(0.8), topP(0.9)];
const steps = session.generate("The future of AI is", { sampler, seed: 7, maxTokens: 32 });
for await (const step of steps) process.stdout.write(step.text);
process.stdout.write("\n");
