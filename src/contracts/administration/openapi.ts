import { z } from 'zod'
import type { Operation } from './operation.ts'
import { OPERATIONS } from './operations.ts'

/** The administration API as an OpenAPI 3.1 document, made from the table of operations. */
export function openApi(version: string): OpenApiDocument {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const [name, operation] of Object.entries(OPERATIONS) as [string, Operation][]) {
    const path = `/admin/v1${operation.path}`
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: describe(name, operation) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'HelixFlow administration', version },
    security: [{ bearer: [] }],
    paths,
    components: {
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description: 'An API key with the scopes, or an access token.',
        },
      },
      schemas: { Error: ERROR },
    },
  }
}

export interface OpenApiDocument {
  readonly openapi: '3.1.0'
  readonly info: { readonly title: string; readonly version: string }
  readonly security: readonly object[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly components: object
}

const ERROR = {
  type: 'object',
  properties: {
    error: {
      type: 'object',
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        param: { type: ['string', 'null'] },
        code: { type: 'string' },
      },
      required: ['message', 'type', 'param', 'code'],
    },
  },
  required: ['error'],
}

type JsonSchema = Readonly<Record<string, unknown>>

function describe(name: string, { summary, method, path, permission, input, output }: Operation) {
  const schema = z.toJSONSchema(input, { io: 'input', unrepresentable: 'any' }) as {
    properties?: Record<string, JsonSchema>
    required?: string[]
  }
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '')
  const fields = Object.entries(schema.properties ?? {})
  const others = fields.filter(([field]) => !inPath.includes(field))
  const required = schema.required ?? []
  const parameter = (field: string, place: 'path' | 'query', type: JsonSchema | undefined) => ({
    name: field,
    in: place,
    required: place === 'path' || required.includes(field),
    schema: type ?? {},
  })
  const reads = method === 'GET' || method === 'DELETE'
  const parameters = [
    ...inPath.map((field) => parameter(field, 'path', schema.properties?.[field])),
    ...(reads ? others.map(([field, type]) => parameter(field, 'query', type)) : []),
    ...(method === 'GET' ? [] : [IDEMPOTENCY]),
  ]
  const body = {
    type: 'object',
    properties: Object.fromEntries(others),
    required: required.filter((field) => !inPath.includes(field)),
    additionalProperties: false,
  }
  return {
    operationId: name,
    summary,
    description: `Needs the permission \`${permission}\`.`,
    tags: [name.split('.')[0]],
    parameters,
    ...(reads || others.length === 0 ? {} : { requestBody: { required: true, content: json(body) } }),
    responses: {
      200: {
        description: 'Done.',
        content: json(z.toJSONSchema(output, { io: 'input', unrepresentable: 'any' }) as JsonSchema),
      },
      default: { description: 'Refused or failed.', content: json({ $ref: '#/components/schemas/Error' }) },
    },
  }
}

const IDEMPOTENCY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key with the same request has its effect once, for a day.',
  schema: { type: 'string', maxLength: 255 },
}

function json(schema: JsonSchema) {
  return { 'application/json': { schema } }
}
