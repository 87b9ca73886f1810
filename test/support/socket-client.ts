import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http'
import { type ClientOptions, WebSocket } from 'ws'
import type { ClientMessageInput, ServerMessage } from '../../src/contracts/realtime.ts'

/** What refused an upgrade. */
export interface RefusedUpgrade {
  readonly status: number
  readonly code: string
  readonly headers: IncomingHttpHeaders
}

export interface Ending {
  readonly code: number
  readonly reason: string
  readonly atMs: number
}

type Typed<Type extends string> = Extract<ServerMessage, { type: Type }>

/** A client of `/ws` that keeps everything it was told. */
export class SocketClient {
  readonly messages: ServerMessage[] = []
  readonly ended: Promise<Ending>
  private readonly waiting = new Set<() => void>()

  private constructor(readonly ws: WebSocket) {
    ws.on('error', () => {})
    ws.on('message', (data) => {
      this.messages.push(JSON.parse(String(data)) as ServerMessage)
      for (const look of [...this.waiting]) look()
    })
    this.ended = new Promise((resolve) => {
      ws.once('close', (code, reason) => {
        resolve({ code, reason: String(reason), atMs: performance.now() })
        for (const look of [...this.waiting]) look()
      })
    })
  }

  /** @throws the refusal */
  static open(
    origin: string,
    { apiKey, protocols = ['helixflow.v1'], path = '/ws', page, headers, protocolVersion = 13 }: OpenOptions,
  ): Promise<SocketClient> {
    const ws = new WebSocket(`${origin.replace(/^http/, 'ws')}${path}`, [...protocols], {
      protocolVersion,
      headers: {
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
        ...(page === undefined ? {} : { origin: page }),
        ...headers,
      },
    })
    const client = new SocketClient(ws)
    return new Promise<SocketClient>((resolve, reject) => {
      ws.once('open', () => resolve(client))
      ws.once('unexpected-response', async (_request, response) => {
        const parts: Buffer[] = []
        for await (const part of response) parts.push(part as Buffer)
        const { error } = JSON.parse(Buffer.concat(parts).toString()) as { error: { code: string } }
        reject({ status: response.statusCode ?? 0, code: error.code, headers: response.headers })
      })
      ws.once('error', reject)
    })
  }

  /** What answered in place of a connection; a connection fails the test. */
  static async refused(origin: string, options: OpenOptions): Promise<RefusedUpgrade> {
    try {
      const client = await SocketClient.open(origin, options)
      client.ws.terminate()
    } catch (reason) {
      return reason as RefusedUpgrade
    }
    throw new Error('the upgrade was not refused')
  }

  /** Says hello and returns the welcome. */
  async hello(more: Partial<Extract<ClientMessageInput, { type: 'hello' }>> = {}): Promise<Typed<'welcome'>> {
    this.send({ type: 'hello', ...more })
    return this.find('welcome', () => true)
  }

  send(message: ClientMessageInput): void {
    this.ws.send(JSON.stringify(message))
  }

  nextId(): string {
    // A create with the id of another is that other one.
    return randomUUID()
  }

  /** Sends a request and returns its one answer. */
  async ask(
    message: Record<string, unknown> & { type: ClientMessageInput['type'] },
  ): Promise<Typed<'ack'> | Typed<'error'> | Typed<'resumed'>> {
    const id = (message['id'] as string | undefined) ?? this.nextId()
    const before = this.messages.length
    this.ws.send(JSON.stringify({ id, ...message }))
    const isAnswer = (one: ServerMessage) =>
      (one.type === 'ack' || one.type === 'error' || one.type === 'resumed') && one.id === id
    return (await this.until((messages) => messages.slice(before).find(isAnswer))) as Typed<'ack'>
  }

  /** Starts a chat like no other, so that none shares its answer; returns its stream and epoch. */
  async chat(more: object = {}, message: object = {}): Promise<{ stream: string; epoch: string }> {
    const request = { model: 'far', messages: [{ role: 'user', content: randomUUID() }], ...more }
    const answer = await this.ask({ type: 'chat.create', request, ...message })
    if (answer.type !== 'ack') throw new Error(JSON.stringify(answer))
    return { stream: answer.stream ?? '', epoch: answer.epoch ?? '' }
  }

  /** The first message of that type that satisfies, once it is there. */
  find<Type extends ServerMessage['type']>(
    type: Type,
    satisfies: (message: Typed<Type>) => boolean = () => true,
  ): Promise<Typed<Type>> {
    return this.until((messages) =>
      messages.find((one): one is Typed<Type> => one.type === type && satisfies(one as Typed<Type>)),
    ) as Promise<Typed<Type>>
  }

  /** The events of a stream, up to its last. */
  async wholeStream(stream: string): Promise<Extract<ServerMessage, { stream: string; seq: number }>[]> {
    const ofStream = (one: ServerMessage) => 'stream' in one && 'seq' in one && one.stream === stream
    await this.until((messages) =>
      messages.find((one) => ofStream(one) && (one.type === 'stream.end' || one.type === 'stream.error')),
    )
    return this.messages.filter(ofStream) as Extract<ServerMessage, { stream: string; seq: number }>[]
  }

  async close(): Promise<Ending> {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.close(1000)
    return this.ended
  }

  /** As a network does it. */
  async cut(): Promise<void> {
    const closed = once(this.ws, 'close')
    this.ws.terminate()
    await closed
  }

  private async until<Found>(
    look: (messages: readonly ServerMessage[]) => Found | undefined,
  ): Promise<Found> {
    for (;;) {
      const found = look(this.messages)
      if (found !== undefined) return found
      if (this.ws.readyState === WebSocket.CLOSED)
        throw new Error(`closed, after ${JSON.stringify(this.messages.slice(-3))}`)
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.waiting.delete(wake)
          resolve()
        }
        this.waiting.add(wake)
      })
    }
  }
}

export interface OpenOptions extends Pick<ClientOptions, 'headers' | 'protocolVersion'> {
  readonly apiKey?: string | undefined
  readonly protocols?: readonly string[]
  readonly path?: string
  /** What a browser would say of the page. */
  readonly page?: string
}

/** The text of the first choice in the events of a stream. */
export function textOf(events: readonly ServerMessage[]): string {
  return events
    .map((one) =>
      (one.type === 'stream.delta' && !one.choice) || one.type === 'stream.event' ? (one.text ?? '') : '',
    )
    .join('')
}
