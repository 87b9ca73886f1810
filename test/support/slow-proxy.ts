import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Stands before a server on this machine and hands its replies on late, whole and in their order; or does worse. */
export class SlowProxy {
  /** How late; may be changed at any time. */
  delayMs = 0
  /** What comes, from either side, goes nowhere, and nobody is told. */
  swallows = false
  private readonly sockets = new Set<Socket>()

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async start(targetPort: number): Promise<SlowProxy> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new SlowProxy(server, (server.address() as AddressInfo).port)
    server.on('connection', (client) => proxy.join(client, connect(targetPort, '127.0.0.1')))
    return proxy
  }

  /** Breaks every connection as a crashed machine does: both sides get a reset. */
  reset(): void {
    for (const socket of this.sockets) socket.resetAndDestroy()
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private join(client: Socket, target: Socket): void {
    let last = Promise.resolve()
    client.on('data', (bytes) => this.swallows || target.write(bytes))
    target.on('data', (bytes) => {
      const { delayMs } = this
      const due = new Promise((resolve) => setTimeout(resolve, delayMs))
      last = last.then(async () => {
        await due
        if (!this.swallows) client.write(bytes)
      })
    })
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      this.sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        this.sockets.delete(one)
        if (!this.swallows) other.destroy()
      })
    }
  }
}
