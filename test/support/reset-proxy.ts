import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Stands before a server on this machine and resets each connection after so many bytes of its replies. */
export class ResetProxy {
  private readonly sockets = new Set<Socket>()
  resets = 0

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  /** @param bytes that the next connection may carry; Infinity: it stays whole */
  static async start(targetPort: number, bytes: () => number): Promise<ResetProxy> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const proxy = new ResetProxy(server, (server.address() as AddressInfo).port)
    server.on('connection', (client) => proxy.join(client, connect(targetPort, '127.0.0.1'), bytes()))
    return proxy
  }

  /** Resets what is open now. */
  resetAll(): void {
    for (const socket of this.sockets) this.reset(socket)
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }

  private join(client: Socket, target: Socket, bytes: number): void {
    let left = bytes
    client.on('data', (chunk) => target.write(chunk))
    target.on('data', (chunk) => {
      const part = chunk.subarray(0, left)
      left -= part.length
      if (left > 0) client.write(part)
      else client.write(part, () => this.reset(client))
    })
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      this.sockets.add(one)
      one.on('error', () => {})
      one.on('end', () => other.end())
      one.on('close', () => {
        this.sockets.delete(one)
        other.destroy()
      })
    }
  }

  private reset(socket: Socket): void {
    this.resets++
    socket.resetAndDestroy()
  }
}
