// Adds `globSync` to the imports of `fs` for the suite, which needs Node 22 otherwise. It is
// called by a command that the tests do not run.

import { register } from "node:module";

const module = (source) => `data:text/javascript,${encodeURIComponent(source)}`;
const fs = module(`
export * from "node:fs";
export { default } from "node:fs";
export const globSync = undefined;
`);
register(
  module(`
export async function resolve(specifier, context, next) {
  const isOfSuite = context.parentURL?.includes("/@modelcontextprotocol/conformance/");
  if (specifier === "fs" && isOfSuite) return { url: ${JSON.stringify(fs)}, shortCircuit: true };
  return next(specifier, context);
}
`),
);
