import { keyProtocols, probeUrl, socketUrl, ticketProtocols } from './address.ts'
import type { Endpoint } from './connection.ts'
import { toError } from './failure.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { Failure } from './messages.ts'
import type { HelixFlowOptions } from './options.ts'
import { webSocketClass } from './web-socket.ts'

const PROBE_MS = 5_000

/** Where the options lead, and who they say one is. @throws HelixFlowError when they are not complete */
export function endpointOf(options: HelixFlowOptions): Endpoint {
  const { url, apiKey, ticket } = options
  if ((apiKey === undefined) === (ticket === undefined)) {
    throw new HelixFlowError('invalid_configuration', 'Give either apiKey or ticket.')
  }
  return {
    url: socketUrl(url),
    WebSocket: webSocketClass(options.WebSocket),
    protocols: async () =>
      ticket === undefined ? keyProtocols(await keyOf(options)) : ticketProtocols(await ticket()),
    // A ticket is good once: asking with it would spend it.
    refusal: async () => (ticket === undefined ? refusalOf(probeUrl(url), () => keyOf(options)) : undefined),
  }
}

/** The key that is good now. */
export async function keyOf({ apiKey }: HelixFlowOptions): Promise<string> {
  return typeof apiKey === 'function' ? await apiKey() : (apiKey ?? '')
}

/**
 * A WebSocket that was refused does not say why; the same address without upgrade does, to whoever may read it (a page
 * elsewhere may not). Never rejects: where there is no key at the moment, the next attempt says so.
 */
async function refusalOf(url: string, key: () => Promise<string>): Promise<HelixFlowError | undefined> {
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), PROBE_MS)
  try {
    const headers = { authorization: `Bearer ${await key()}` }
    const answer = await fetch(url, { headers, signal: limit.signal })
    if (!FINAL.has(answer.status)) return undefined
    const { error } = (await answer.json()) as Pick<Failure, 'error'>
    return toError({ error, status: answer.status, retryable: false })
  } catch {
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

const FINAL = new Set([400, 401, 403, 404])
