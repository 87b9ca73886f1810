import { checkServerIdentity } from 'node:tls'
import { buildConnector, type Dispatcher, Pool } from 'undici'
import type { EngineAddress, Replica } from '../../contracts/pool.ts'
import { type TlsFiles, tlsOptions } from '../../contracts/rpc-transport.ts'
import { HelixError } from '../../core/errors.ts'

/** Where requests to an engine go, and what every one of them carries. */
export interface EngineClient {
  readonly dispatcher: Dispatcher
  /** Path prefix of the engine's address, without a slash at the end. */
  readonly basePath: string
  readonly origin: string
  readonly headers: Readonly<Record<string, string>>
}

/** One connection pool per engine address; closed when the engine is gone. */
export class EngineClients {
  private readonly clients = new Map<string, { client: EngineClient; pool: Pool; connections: number }>()

  /** @param tls for engines of other machines, which are reached through their nodes' relays */
  constructor(private readonly tls?: TlsFiles) {}

  get(replica: Replica): EngineClient {
    const present = this.clients.get(replica.id)
    if (present) return present.client
    const created = { ...connect(replica.address, replica.slots, this.tls), connections: replica.slots }
    this.clients.set(replica.id, created)
    return created.client
  }

  /**
   * Keeps the pools of these replicas and closes the others once their last request has ended. A replica that has more slots
   * than before gets another pool: one cannot grow.
   */
  keepOnly(replicas: readonly Replica[]): void {
    const slots = new Map(replicas.map((replica) => [replica.id, replica.slots]))
    for (const [id, { pool, connections }] of this.clients) {
      const wanted = slots.get(id)
      if (wanted !== undefined && wanted <= connections) continue
      this.clients.delete(id)
      void pool.close()
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.clients.values()].map(({ pool }) => pool.destroy()))
    this.clients.clear()
  }
}

function connect(
  address: EngineAddress,
  slots: number,
  tls: TlsFiles | undefined,
): { client: EngineClient; pool: Pool } {
  const url = new URL(address.url)
  const pool = new Pool(url.origin, {
    // As many as requests can be at work; each idle one would hold a thread of the engine.
    connections: slots,
    pipelining: 1,
    connect: connectorTo(address, tls),
  })
  const headers = {
    'content-type': 'application/json',
    ...(address.apiKey === undefined ? {} : { authorization: `Bearer ${address.apiKey}` }),
  }
  return {
    pool,
    client: { dispatcher: pool, origin: url.origin, basePath: url.pathname.replace(/\/$/, ''), headers },
  }
}

const CONNECT_TIMEOUT_MS = 5_000

function connectorTo({ url, socketPath, serverName }: EngineAddress, tls: TlsFiles | undefined) {
  const timeout = CONNECT_TIMEOUT_MS
  if (serverName === undefined) return { timeout, ...(socketPath === undefined ? {} : { socketPath }) }
  if (!tls) {
    throw new HelixError('invalid_configuration', 'Engines of other machines need rpc.tls.')
  }
  const { hostname } = new URL(url)
  const connect = buildConnector({
    ...tlsOptions(tls),
    timeout,
    // The name in the handshake says which engine is meant; whose machine it is, the certificate must say.
    checkServerIdentity: (_, certificate) =>
      checkServerIdentity(hostname.replace(/^\[|\]$/g, ''), certificate),
  })
  const named: buildConnector.connector = (options, callback) =>
    connect({ ...options, servername: serverName }, callback)
  return named
}
