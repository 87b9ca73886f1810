import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { EngineAddress } from '../contracts/pool.ts'
import { listenAt } from '../contracts/rpc-server.ts'
import { type TlsFiles, tlsOptions } from '../contracts/rpc-transport.ts'
import type { Logger } from '../core/log.ts'
import type { EngineDoor } from './rpc.ts'

export interface RelayOptions {
  readonly host: string
  readonly port: number
  readonly tls: TlsFiles
  /** Host by which others reach this machine; a certificate of it must name it. */
  readonly publicHost: string
  readonly log: Logger
}

const TOKEN_BYTES = 16
const HANDSHAKE_TIMEOUT_MS = 5_000

/**
 * The one door through which other machines reach the engines of this one: TLS 1.3 with certificates on both sides, and
 * the engine is named in the handshake (SNI). From then on bytes pass as they come, both ways, each side no faster than
 * the other takes them: whatever the engine speaks, nothing of it is understood here.
 */
export class Relay implements EngineDoor {
  /** By the name in the handshake. */
  private readonly engines = new Map<string, EngineAddress>()
  /** By instance. */
  private readonly names = new Map<string, string>()
  private readonly open = new Set<Socket>()
  private readonly server: Server
  private url = ''

  private constructor(private readonly options: RelayOptions) {
    this.server = createServer(
      {
        ...tlsOptions(options.tls),
        requestCert: true,
        rejectUnauthorized: true,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      },
      (socket) => this.lead(socket),
    )
    this.server.on('tlsClientError', (error) =>
      options.log.debug('relay refused a connection', { cause: error.message }),
    )
  }

  /** @throws HelixError `address_in_use`, `invalid_configuration` */
  static async start(options: RelayOptions): Promise<Relay> {
    const relay = new Relay(options)
    relay.url = await listenAt(relay.server, options.host, options.port, options.publicHost)
    return relay
  }

  /** The address by which other machines reach the engine of that instance; the same one each time. */
  publish(instanceId: string, address: EngineAddress): EngineAddress {
    const serverName =
      this.names.get(instanceId) ?? `${randomBytes(TOKEN_BYTES).toString('hex')}.engine.helixflow`
    this.names.set(instanceId, serverName)
    this.engines.set(serverName, address)
    return {
      url: `${this.url}${new URL(address.url).pathname.replace(/\/$/, '')}`,
      socketPath: undefined,
      apiKey: address.apiKey,
      serverName,
    }
  }

  /** Leads nobody there any more. Connections that are open end with the engine. */
  revoke(instanceId: string): void {
    this.engines.delete(this.names.get(instanceId) ?? '')
    this.names.delete(instanceId)
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const socket of this.open) socket.destroy()
    await closed
  }

  private lead(client: TLSSocket): void {
    const { servername } = client as TLSSocket & { readonly servername?: string | false }
    const address = this.engines.get(servername || '')
    client.on('error', (error) => this.options.log.debug('relay lost a client', { cause: error.message }))
    if (!address) return void client.destroy()
    const engine = connect(whereTo(address))
    engine.on('error', (error) => this.options.log.debug('relay lost an engine', { cause: error.message }))
    for (const socket of [client, engine]) {
      this.open.add(socket)
      socket.once('close', () => this.open.delete(socket))
      socket.setNoDelay(true)
    }
    // A request that was given up reaches the engine as a broken connection, at once; what an engine said before it
    // hung up reaches the client whole.
    client.once('close', () => engine.destroy())
    engine.once('close', () => client.destroySoon())
    client.pipe(engine)
    engine.pipe(client)
  }
}

function whereTo({ url, socketPath }: EngineAddress) {
  if (socketPath !== undefined) return { path: socketPath }
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port) }
}
