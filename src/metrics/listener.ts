import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as immediately } from 'node:timers/promises'
import { constants, createGzip } from 'node:zlib'
import { HelixError } from '../core/errors.ts'
import type { MetricRegistry } from './registry.ts'
import { CONTENT_TYPES, formatFor } from './text-format.ts'

export interface MetricsListener {
  /** `http://127.0.0.1:9464/metrics` */
  readonly url: string
  stop(): Promise<void>
}

export interface MetricsAddress {
  readonly host: string
  readonly port: number
  /** A scraper that has not taken everything by then is cut off. Prometheus gives up after 10 s by itself. */
  readonly deadlineMs?: number
}

const DEADLINE_MS = 10_000
/** Text that waits for a scraper: what it does not take is not made. */
const WAITING_BYTES = 64 * 1024

/**
 * Serves `/metrics` at an address of its own, apart from the one that callers reach.
 * @throws HelixError `address_in_use`
 */
export async function listenForMetrics(
  registry: MetricRegistry,
  { host, port, deadlineMs = DEADLINE_MS }: MetricsAddress,
): Promise<MetricsListener> {
  const server = createServer(
    { headersTimeout: deadlineMs, requestTimeout: deadlineMs },
    (request, response) => {
      void answer(registry, { request, response, deadlineMs })
    },
  )
  await new Promise<void>((resolve, reject) => {
    // For good: later one connection that could not be taken must not end the process.
    server.on('error', (cause) => {
      const text = `The metrics cannot be served at ${host}:${port}. Choose another address with metrics.port.`
      reject(new HelixError('address_in_use', text, { cause }))
    })
    server.listen(port, host, resolve)
  })
  const { port: chosen } = server.address() as AddressInfo
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${chosen}/metrics`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

interface Scrape {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly deadlineMs: number
}

/** Never rejects: there is nobody who could do anything about it but the scraper, and that one is told. */
async function answer(registry: MetricRegistry, { request, response, deadlineMs }: Scrape): Promise<void> {
  request.resume()
  if (request.url?.split('?')[0] !== '/metrics') {
    response.writeHead(404).end()
    return
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end()
    return
  }
  const deadline = setTimeout(() => response.destroy(), deadlineMs)
  try {
    await write(registry, request, response)
  } catch (reason) {
    if (response.headersSent) response.destroy()
    else response.writeHead(500).end(HelixError.from(reason).publicMessage)
  } finally {
    clearTimeout(deadline)
  }
}

async function write(
  registry: MetricRegistry,
  { headers, method }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  // What fails here fails before anything was said.
  for (const _ of registry.collect()) await immediately()
  const format = formatFor(headers.accept)
  const isZipped = /\bgzip\b/.test(String(headers['accept-encoding'] ?? ''))
  response.writeHead(200, {
    'content-type': CONTENT_TYPES[format],
    vary: 'accept, accept-encoding',
    ...(isZipped ? { 'content-encoding': 'gzip' } : {}),
  })
  if (method === 'HEAD') {
    response.end()
    return
  }
  const text = Readable.from(inTurn(registry.text(format)), {
    objectMode: false,
    highWaterMark: WAITING_BYTES,
  })
  // Done by another thread, at the level that takes the least of it.
  if (isZipped) await pipeline(text, createGzip({ level: constants.Z_BEST_SPEED }), response)
  else await pipeline(text, response)
}

async function* inTurn(pieces: Iterable<string>): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    yield Buffer.from(piece)
    await immediately()
  }
}
