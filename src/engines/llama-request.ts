import { type RequestOptions, request } from 'node:http'
import type { EngineAddress } from '../contracts/pool.ts'
import { HelixError } from '../core/errors.ts'

export interface LlamaSocket {
  readonly socketPath: string
  readonly apiKey: string
}

export interface LlamaAnswer {
  readonly status: number
  /** Parsed JSON; undefined when the body is something else. */
  readonly body: unknown
}

/**
 * One small question to an engine that we started, each on a connection of its own: the engine closes those that
 * were used a few times. Requests of users do not come this way.
 * @throws HelixError `engine_failed` when no answer comes in time, or the signal aborts
 */
export function askEngine(
  engine: LlamaSocket | EngineAddress,
  path: string,
  options: {
    readonly timeoutMs: number
    readonly body?: object | undefined
    readonly signal?: AbortSignal | undefined
  },
): Promise<LlamaAnswer> {
  const body = options.body === undefined ? undefined : JSON.stringify(options.body)
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) =>
      reject(
        new HelixError('engine_failed', 'The engine does not answer.', {
          internal: `${path}: ${cause}`,
          cause,
        }),
      )
    const outgoing = request(
      {
        path,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          'content-type': 'application/json',
          authorization: `Bearer ${engine.apiKey}`,
        },
        agent: false,
        signal: AbortSignal.any([
          AbortSignal.timeout(options.timeoutMs),
          ...(options.signal ? [options.signal] : []),
        ]),
        ...placeOf(engine),
      },
      (incoming) => {
        let text = ''
        incoming.setEncoding('utf8')
        incoming.on('data', (chunk: string) => {
          text += chunk
        })
        incoming.on('error', fail)
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: parsed(text) }))
      },
    )
    outgoing.on('error', fail)
    outgoing.end(body)
  })
}

function placeOf(engine: LlamaSocket | EngineAddress): RequestOptions {
  if (engine.socketPath !== undefined || !('url' in engine)) return { socketPath: engine.socketPath }
  const { hostname, port } = new URL(engine.url)
  return { hostname, port }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
