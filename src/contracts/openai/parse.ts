import { isUtf8 } from 'node:buffer'
import type { z } from 'zod'
import { HelixError } from '../../core/errors.ts'

/**
 * The JSON value in a request body.
 * @throws HelixError `invalid_json`
 */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0)
    throw new HelixError('invalid_json', 'The request body is empty; send a JSON object.')
  if (!isUtf8(body)) throw new HelixError('invalid_json', 'The request body is not valid UTF-8.')
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (cause) {
    throw new HelixError('invalid_json', 'The request body is not valid JSON.', { cause })
  }
}

/**
 * A request as its schema has it.
 * @throws HelixError `unsupported_parameter` for a field that the schema does not know, `invalid_value` for any other
 *   mistake; `param` is the path of the first one
 */
export function parseRequest<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw toError(result.error.issues[0])
}

type Issue = z.core.$ZodIssue

function toError(issue: Issue | undefined): HelixError {
  if (!issue) return new HelixError('invalid_value', 'The request is not valid.')
  const { at, path } = innermost(issue, issue.path)
  if (at.code === 'unrecognized_keys') {
    const param = pathText([...path, at.keys[0] ?? ''])
    return new HelixError('unsupported_parameter', `Unsupported parameter: '${param}'.`, { param })
  }
  const param = pathText(path)
  const subject = param === '' ? 'The request body' : `'${param}'`
  if (at.code === 'custom' && at.params?.['unsupported'] === true) {
    return new HelixError('unsupported_parameter', `Unsupported parameter: ${subject}: ${at.message}`, {
      param,
    })
  }
  return new HelixError('invalid_value', `Invalid value: ${subject}: ${at.message}`, {
    param: param || undefined,
  })
}

/** In a union, the mistake of the branch that got furthest is the one the caller means. */
function innermost(issue: Issue, path: readonly PropertyKey[]): { at: Issue; path: readonly PropertyKey[] } {
  if (issue.code !== 'invalid_union') return { at: issue, path }
  const nested = issue.errors
    .map((branch) => branch[0])
    .filter((branch) => branch !== undefined)
    .map((branch) => innermost(branch, [...path, ...branch.path]))
  return (
    nested.sort((a, b) => b.path.length - a.path.length).find((one) => one.path.length > path.length) ?? {
      at: issue,
      path,
    }
  )
}

const PATH_LENGTH_MAX = 256

function pathText(path: readonly PropertyKey[]): string {
  const text = path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`
    return text === '' ? String(part) : `${text}.${String(part)}`
  }, '')
  return text.length > PATH_LENGTH_MAX ? `${text.slice(0, PATH_LENGTH_MAX)}...` : text
}
