/**
 * A conversation in a script: two questions, the second of which needs the first. What the session
 * holds already is not read again.
 *
 * bun run examples/chat.ts     deno run --allow-all examples/chat.ts
 */
import process from "node:process";
import { type ChatMessage, greedy, loadModel } from "../mod.ts";

using model = await loadModel("smollm2");
using session = model.session({ context: 1024 });
const messages: ChatMessage[] = [{ role: "system", content: "You answer in one short sentence." }];

for (const question of ["What is the capital of France?", "What is it famous for?"]) {
  messages.push({ role: "user", content: question });
  const tokens = model.tokenize(model.chatTemplate(messages));
  let common = 0;
  while (common < tokens.length - 1 && session.tokens[common] === tokens[common]) common++;
  session.truncate(common);

  process.stdout.write(`> ${question}\n`);
  let answer = "";
  const steps = session.generate(tokens.subarray(common), { sampler: [greedy()], maxTokens: 48 });
  for await (const step of steps) {
    process.stdout.write(step.text);
    answer += step.text;
  }
  process.stdout.write("\n");
  messages.push({ role: "assistant", content: answer });
}
