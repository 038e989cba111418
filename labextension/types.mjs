// Makes src/types.ts from the server's OpenAPI document; with --check it only says whether they differ.

import { readFileSync, writeFileSync } from 'node:fs';
import openapiTS, { astToString } from 'openapi-typescript';

const document = new URL('../gpunb/server/openapi.yaml', import.meta.url);
const target = new URL('src/types.ts', import.meta.url);
const head = '/** What the server sends, made by `make types` from gpunb/server/openapi.yaml: change gpunb/presentation instead. */\n\n';

const every = await openapiTS(document, { alphabetize: false, rootTypes: true, rootTypesNoSchemaPrefix: true });
// routes are asked for by name in api.ts
const kept = every.filter(node => !['paths', 'webhooks', 'operations', '$defs'].includes(node.name?.escapedText));
const text = head + astToString(kept);

if (!process.argv.includes('--check')) writeFileSync(target, text);
else if (readFileSync(target, 'utf8') !== text) {
  console.error('labextension/src/types.ts is not what gpunb/server/openapi.yaml says: make types');
  process.exit(1);
}
