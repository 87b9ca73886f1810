import type { FastifyReply, FastifyRequest } from 'fastify'
import { type OpenApiDocument, openApi } from '../../contracts/administration/openapi.ts'

/** GET /openapi.json */
export function openApiDocument(version: string) {
  const document = openApi(version)
  return async () => document
}

/** GET /docs: the same for people. */
export function readableDocument(version: string) {
  const page = render(openApi(version))
  return (_request: FastifyRequest, reply: FastifyReply) =>
    reply
      .header('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
      .type('text/html; charset=utf-8')
      .send(page)
}

interface DescribedOperation {
  readonly operationId: string
  readonly summary: string
  readonly description: string
  readonly parameters: readonly { readonly name: string; readonly in: string; readonly required: boolean }[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: BodySchema }>> }
}

interface BodySchema {
  readonly properties: Readonly<Record<string, { readonly description?: string; readonly type?: string }>>
  readonly required: readonly string[]
}

function render({ info, paths }: OpenApiDocument): string {
  const sections = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      section(method, path, operation as DescribedOperation),
    ),
  )
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${info.title} ${info.version}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h2{font:600 1rem ui-monospace,monospace;margin-top:2rem;border-top:1px solid #ccc;padding-top:1rem}
td{padding:.1rem 1rem .1rem 0;vertical-align:top}code{font-family:ui-monospace,monospace}</style>
<h1>${info.title}</h1>
<p>Version ${info.version}. For programs: <a href="/openapi.json">openapi.json</a>. Send
<code>Authorization: Bearer</code> with an API key that has the scope, or an access token.</p>
${sections.join('\n')}
</html>
`
}

function section(method: string, path: string, operation: DescribedOperation): string {
  const body = operation.requestBody?.content['application/json']?.schema
  const fields = [
    ...operation.parameters.map(({ name, in: place, required }) => ({ name, place, required, text: '' })),
    ...Object.entries(body?.properties ?? {}).map(([name, { description = '', type = '' }]) => {
      return {
        name,
        place: 'body',
        required: body?.required.includes(name) === true,
        text: description || type,
      }
    }),
  ]
  const rows = fields.map(
    ({ name, place, required, text }) =>
      `<tr><td><code>${name}</code></td><td>${place}${required ? ', required' : ''}</td><td>${escaped(text)}</td></tr>`,
  )
  return `<h2 id="${operation.operationId}">${method.toUpperCase()} ${path}</h2>
<p>${escaped(operation.summary)}. ${escaped(operation.description)}</p><table>${rows.join('')}</table>`
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll(/`([^`]*)`/g, '<code>$1</code>')
}
