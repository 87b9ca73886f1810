import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Random } from '../../src/core/random.ts'

/** Stands before a server and, when told to, resets some of the connections that run through it. */
export class ResetProxy {
  /** Where new connections go; may be changed at any time. */
  targetPort: number
  resets = 0
  private readonly clients = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    readonly port: number,
    targetPort: number,
  ) {
    this.targetPort = targetPort
  }

  static async start(targetPort: number): Promise<ResetProxy> {
    const server = createServer({ noDelay: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new ResetProxy(server, (server.address() as AddressInfo).port, targetPort)
    server.on('connection', (client) => proxy.join(client))
    return proxy
  }

  /** Ends this share of the connections at both ends, in the middle of whatever they carry. */
  resetSome(share: number, random: Random): void {
    for (const client of [...this.clients]) {
      if (random.uniform() >= share) continue
      this.resets++
      client.resetAndDestroy()
    }
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private join(client: Socket): void {
    const target = connect({ port: this.targetPort, host: '127.0.0.1', noDelay: true })
    this.clients.add(client)
    client.pipe(target)
    target.pipe(client)
    client.on('error', () => {})
    target.on('error', () => {})
    client.on('close', () => {
      this.clients.delete(client)
      target.resetAndDestroy()
    })
    target.on('close', () => client.resetAndDestroy())
  }
}
