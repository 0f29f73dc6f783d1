#!/usr/bin/env -S deno run --allow-all
// deno run --allow-all examples/hello_deno.ts
import { loadModel, temperature, topP } from "../mod.ts";

using model = await loadModel("smollm2");
using session = model.session();
const sampler = [temperature(0.8), topP(0.9)];
const steps = session.generate("The future of AI is", { sampler, seed: 7, maxTokens: 32 });
for await (const step of steps) await Deno.stdout.write(new TextEncoder().encode(step.text));
await Deno.stdout.write(new TextEncoder().encode("\n"));
