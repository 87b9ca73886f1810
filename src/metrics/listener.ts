import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate as immediately } from 'node:timers/promises'
import { HelixError } from '../core/errors.ts'
import type { MetricRegistry } from './registry.ts'

const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export interface MetricsListener {
  /** `http://127.0.0.1:9464/metrics` */
  readonly url: string
  stop(): Promise<void>
}

/**
 * Serves `/metrics` at an address of its own, apart from the one that callers reach.
 * @throws HelixError `address_in_use`
 */
export async function listenForMetrics(
  registry: MetricRegistry,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<MetricsListener> {
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    try {
      response.writeHead(200, { 'content-type': CONTENT_TYPE })
      for (const piece of registry.read()) {
        if (!response.write(piece)) await once(response, 'drain')
        await immediately()
      }
      response.end()
    } catch (reason) {
      // Whoever scrapes is told; an unanswered failure would end the process.
      response.writeHead(500).end(HelixError.from(reason).publicMessage)
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
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
