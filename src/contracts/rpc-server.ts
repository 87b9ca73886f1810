import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo, Server } from 'node:net'
import type { ConnectRouter } from '@connectrpc/connect'
import { connectNodeAdapter } from '@connectrpc/connect-node'
import { HelixError } from '../core/errors.ts'
import { noTracer, type Tracer } from '../core/tracing.ts'
import { followTraces } from './rpc-tracing.ts'
import { type TlsFiles, tlsOptions } from './rpc-transport.ts'

export interface RpcServerOptions {
  readonly host: string
  readonly port: number
  /** By which others reach this machine; `host` by default. */
  readonly publicHost?: string | undefined
  readonly tls: TlsFiles
  readonly routes: (router: ConnectRouter) => void
  readonly tracer?: Tracer
}

export interface RpcServer {
  /** https://host:port */
  readonly url: string
  stop(): Promise<void>
}

/**
 * Serves gRPC over HTTP/2 with TLS 1.3, to whoever shows a certificate of the platform's own authority.
 * @throws HelixError `address_in_use`, `invalid_configuration`
 */
export async function serveRpc({
  host,
  port,
  publicHost,
  tls,
  routes,
  tracer = noTracer,
}: RpcServerOptions): Promise<RpcServer> {
  const server = createSecureServer(
    { ...tlsOptions(tls), requestCert: true, rejectUnauthorized: true },
    connectNodeAdapter({ routes, interceptors: followTraces(tracer) }),
  )
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  const url = await listenAt(server, host, port, publicHost)
  return {
    url,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        // A watch would keep its connection for ever.
        for (const session of sessions) session.destroy()
      }),
  }
}

/**
 * Where the server listens now, as others say it: `https://host:port`.
 * @param publicHost by which they reach it; `host` by default
 * @throws HelixError `address_in_use`
 */
export async function listenAt(
  server: Server,
  host: string,
  port: number,
  publicHost: string = host,
): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    // For good: later one connection that could not be taken must not end the process.
    server.on('error', (cause: NodeJS.ErrnoException) => {
      const text = `${host}:${port} cannot be used (${cause.code}). Choose another port.`
      reject(new HelixError('address_in_use', text, { cause }))
    })
    server.listen(port, host, resolve)
  })
  const { port: bound } = server.address() as AddressInfo
  return `https://${publicHost.includes(':') ? `[${publicHost}]` : publicHost}:${bound}`
}
