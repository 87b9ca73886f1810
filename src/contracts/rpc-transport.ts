import { readFileSync } from 'node:fs'
import { type ConnectRouter, createRouterTransport, type Transport } from '@connectrpc/connect'
import { createGrpcTransport } from '@connectrpc/connect-node'
import { HelixError } from '../core/errors.ts'
import { noTracer, type Tracer } from '../core/tracing.ts'
import { followTraces } from './rpc-tracing.ts'

/** Files of one service's own certificate and key, and of the authority that all of them trust. PEM. */
export interface TlsFiles {
  readonly authority: string
  readonly certificate: string
  readonly key: string
}

/** What Node's TLS wants of them: nothing older than TLS 1.3, and nobody without a certificate of that authority. */
export function tlsOptions(files: TlsFiles) {
  return {
    ca: readPem(files.authority),
    cert: readPem(files.certificate),
    key: readPem(files.key),
    minVersion: 'TLSv1.3',
  } as const
}

/** To a service in this very process: the same messages, without a network. */
export function inMemory(routes: (router: ConnectRouter) => void, tracer: Tracer = noTracer): Transport {
  return createRouterTransport(routes, { router: { interceptors: followTraces(tracer) } })
}

/** To a service elsewhere, as gRPC over HTTP/2; both sides show their certificates. */
export function overTls(url: string, files: TlsFiles): Transport {
  return createGrpcTransport({ baseUrl: url, nodeOptions: tlsOptions(files), pingIntervalMs: 10_000 })
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new HelixError(
      'invalid_configuration',
      `${path} cannot be read: ${String(cause)}. It is named in rpc.tls.`,
      {
        cause,
      },
    )
  }
}
