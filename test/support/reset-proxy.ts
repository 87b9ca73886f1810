import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Random } from '../../src/core/random.ts'

/** Stands before a server on this machine and resets connections: after so many bytes of its replies, or when told to. */
export class ResetProxy {
  resets = 0
  private readonly clients = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    readonly port: number,
    /** Where new connections go; may be changed at any time. */
    public targetPort: number,
  ) {}

  /** @param bytes that the next connection may carry; Infinity: it stays whole */
  static async start(
    targetPort: number,
    bytes: () => number = () => Number.POSITIVE_INFINITY,
  ): Promise<ResetProxy> {
    const server = createServer({ noDelay: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new ResetProxy(server, (server.address() as AddressInfo).port, targetPort)
    server.on('connection', (client) => proxy.join(client, bytes()))
    return proxy
  }

  /** Resets this share of what is open, in the middle of whatever it carries. */
  resetSome(share: number, random: Random): void {
    for (const client of [...this.clients]) if (random.uniform() < share) this.reset(client)
  }

  /** Resets what is open now. */
  resetAll(): void {
    for (const client of [...this.clients]) this.reset(client)
  }

  async stop(): Promise<void> {
    for (const client of this.clients) client.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private join(client: Socket, bytes: number): void {
    const target = connect({ port: this.targetPort, host: '127.0.0.1', noDelay: true })
    let left = bytes
    this.clients.add(client)
    client.on('data', (chunk) => target.write(chunk))
    target.on('data', (chunk) => {
      const part = chunk.subarray(0, left)
      left -= part.length
      if (left > 0) client.write(part)
      else client.write(part, () => this.reset(client))
    })
    client.on('close', () => this.clients.delete(client))
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      one.on('error', () => {})
      one.on('end', () => other.end())
      one.on('close', () => other.destroy())
    }
  }

  private reset(client: Socket): void {
    this.resets++
    client.resetAndDestroy()
  }
}
