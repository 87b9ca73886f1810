import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { ConnectRouter } from '@connectrpc/connect'
import { connectNodeAdapter } from '@connectrpc/connect-node'
import { type TlsFiles, tlsOptions } from '../contracts/rpc-transport.ts'
import { HelixError } from '../core/errors.ts'

export interface RpcServerOptions {
  readonly host: string
  readonly port: number
  readonly tls: TlsFiles
  readonly routes: (router: ConnectRouter) => void
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
export async function serveRpc({ host, port, tls, routes }: RpcServerOptions): Promise<RpcServer> {
  const server = createSecureServer(
    { ...tlsOptions(tls), requestCert: true, rejectUnauthorized: true },
    connectNodeAdapter({ routes }),
  )
  const sessions = new Set<ServerHttp2Session>()
  server.on('session', (session) => {
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  await listen(server, host, port)
  const { port: bound } = server.address() as AddressInfo
  return {
    url: `https://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        // A watch would keep its connection for ever.
        for (const session of sessions) session.destroy()
      }),
  }
}

function listen(server: Http2SecureServer, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new HelixError(
          'address_in_use',
          `${host}:${port} cannot be used (${cause.code}). Choose another port.`,
          {
            cause,
          },
        ),
      ),
    )
    server.listen(port, host, resolve)
  })
}
