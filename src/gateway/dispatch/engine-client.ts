import { type Dispatcher, Pool } from 'undici'
import type { EngineAddress, Replica } from '../../contracts/pool.ts'

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

  get(replica: Replica): EngineClient {
    const present = this.clients.get(replica.id)
    if (present) return present.client
    const created = { ...connect(replica.address, replica.slots), connections: replica.slots }
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

function connect(address: EngineAddress, slots: number): { client: EngineClient; pool: Pool } {
  const url = new URL(address.url)
  const pool = new Pool(url.origin, {
    // As many as requests can be at work; each idle one would hold a thread of the engine.
    connections: slots,
    pipelining: 1,
    connect: {
      timeout: 5_000,
      ...(address.socketPath === undefined ? {} : { socketPath: address.socketPath }),
    },
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
