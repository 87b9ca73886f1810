import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a receiver of notifications was sent, and the means to answer. */
export interface Received {
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly response: ServerResponse
}

/** An HTTP server that takes notifications; how it answers is a script. */
export class ReceiverServer {
  readonly received: Received[] = []
  private readonly waiting = new Set<() => void>()

  private constructor(
    private readonly server: Server,
    readonly url: string,
    public answer: (received: Received) => void,
  ) {}

  static async start(answer: (received: Received) => void = taken): Promise<ReceiverServer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const made = new ReceiverServer(server, `http://127.0.0.1:${port}/hook`, answer)
    server.on('request', (request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', () =>
        made.take({ headers: request.headers, body: Buffer.concat(parts).toString(), response }),
      )
    })
    return made
  }

  /** Resolves when so many have come. */
  async count(number: number): Promise<void> {
    while (this.received.length < number) await new Promise<void>((resolve) => this.waiting.add(resolve))
  }

  bodies(): { readonly id: string; readonly status: string }[] {
    return this.received.map(({ body }) => JSON.parse(body))
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections()
    this.server.close()
    await once(this.server, 'close')
  }

  private take(received: Received): void {
    this.received.push(received)
    this.answer(received)
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }
}

export function taken({ response }: Received): void {
  response.writeHead(204).end()
}

/** Answers with that status, and headers where some are given. */
export function answering(status: number, headers: Readonly<Record<string, string>> = {}) {
  return ({ response }: Received): void => void response.writeHead(status, headers).end()
}
