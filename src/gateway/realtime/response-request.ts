import { parseRequest } from '../../contracts/openai/parse.ts'
import { ResponseRequest } from '../../contracts/openai/responses.ts'
import { HelixError } from '../../core/errors.ts'

/**
 * The request for a response that came over a socket: its events are what a socket is for, so that nobody says how they are
 * wanted. @throws HelixError `unsupported_parameter`, `invalid_value`
 */
export function socketResponseRequest(body: Readonly<Record<string, unknown>>): ResponseRequest {
  for (const param of ['stream', 'stream_options', 'background']) {
    if (!Object.hasOwn(body, param)) continue
    throw new HelixError('unsupported_parameter', `Unsupported parameter: '${param}'.`, { param })
  }
  return parseRequest(ResponseRequest, body)
}
