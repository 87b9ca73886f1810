import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { ClientMessage, type ServerMessage, type UnrecoverableReason } from '../../src/contracts/realtime.ts'

/** One thing that goes wrong with a connection, before it sends its next event of a stream. */
export type Fault =
  | 'none'
  | 'drop'
  | 'close'
  | 'drain'
  | 'mute'
  | 'double'
  | 'skip'
  | 'swap'
  | 'old'
  | 'unknown'
  | 'overload'

export interface Script {
  /** The text that answers a request, as the pieces that it comes in. */
  readonly pieces: (request: Readonly<Record<string, unknown>>) => readonly string[]
  /** Asked before each event. */
  readonly fault?: () => Fault
  /** Why a stream cannot be resumed, asked each time somebody wants to. */
  readonly unrecoverable?: (stream: ScriptedStream) => UnrecoverableReason | undefined
  /** Changes what is sent. */
  readonly change?: (message: ServerMessage) => ServerMessage
  /** What answers a handshake instead of 101. */
  readonly refuse?: (request: IncomingMessage) => { status: number; code: string } | undefined
  /** Answers a message otherwise than this server would; true: nothing else happens. */
  readonly intercept?: (message: ClientMessage, link: Link) => boolean
  readonly heartbeatMs?: number
}

export interface ScriptedStream {
  readonly id: string
  readonly epoch: string
  readonly requestId: string
  readonly events: readonly ServerMessage[]
  cancelled: boolean
  acknowledged: number
}

/**
 * A server of the protocol of docs/realtime.md, written for the tests of its client: it answers by its script, and
 * misbehaves by it.
 */
export class ScriptedGateway {
  readonly streams = new Map<string, ScriptedStream>()
  readonly links = new Set<Link>()
  readonly received: ClientMessage[] = []
  /** Updates that were published, by topic; each topic is a log that is kept for ever. */
  readonly topics = new Map<string, unknown[]>()
  handshakes = 0
  private readonly byRequest = new Map<string, ScriptedStream>()

  private constructor(
    readonly script: Script,
    private readonly http: Server,
    readonly port: number,
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  static async start(script: Script): Promise<ScriptedGateway> {
    const http = createServer((request, response) => {
      const { status, code } = script.refuse?.(request) ?? { status: 426, code: 'upgrade_required' }
      const error = { message: 'refused', type: 'invalid_request_error', param: null, code }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
    })
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    const gateway = new ScriptedGateway(script, http, (http.address() as AddressInfo).port)
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'helixflow.v1' })
    http.on('upgrade', (request, socket, head) => {
      gateway.handshakes++
      const refused = script.refuse?.(request)
      if (refused) socket.end(`HTTP/1.1 ${refused.status} Refused\r\nconnection: close\r\n\r\n`)
      else sockets.handleUpgrade(request, socket, head, (one) => gateway.join(one))
    })
    return gateway
  }

  async stop(): Promise<void> {
    for (const { socket } of this.links) socket.terminate()
    this.http.closeAllConnections()
    await new Promise((resolve) => this.http.close(resolve))
  }

  /** The stream that this request began, or begins now. */
  streamOf(
    id: string,
    request: Readonly<Record<string, unknown>>,
    kind: 'chat' | 'response',
  ): ScriptedStream {
    const known = this.byRequest.get(id)
    if (known) return known
    const name = `${kind === 'chat' ? 'str' : 'resp'}_${createHash('md5').update(id).digest('hex')}`
    const stream = {
      id: name,
      epoch: `e-${id.slice(0, 8)}`,
      requestId: id,
      events: eventsOf(name, `e-${id.slice(0, 8)}`, this.script.pieces(request), kind),
      cancelled: false,
      acknowledged: 0,
    }
    this.byRequest.set(id, stream)
    this.streams.set(name, stream)
    return stream
  }

  private join(socket: WebSocket): void {
    const link = new Link(this, socket)
    this.links.add(link)
    socket.on('error', () => {})
    socket.on('close', () => this.links.delete(link))
    socket.on('message', (data) => {
      const message = ClientMessage.parse(JSON.parse(String(data)))
      this.received.push(message)
      if (!this.script.intercept?.(message, link)) link.receive(message)
    })
  }
}

/** One connection of it. */
export class Link {
  private readonly reading = new Map<string, { stream: ScriptedStream; at: number }>()
  private muted = false
  private sending = false

  constructor(
    readonly gateway: ScriptedGateway,
    readonly socket: WebSocket,
  ) {}

  send(message: ServerMessage): void {
    if (this.muted) return
    this.socket.send(JSON.stringify(this.gateway.script.change?.(message) ?? message))
  }

  receive(message: ClientMessage): void {
    if (this.muted) return
    switch (message.type) {
      case 'hello':
        this.welcome(message)
        break
      case 'chat.create':
      case 'response.create': {
        const kind = message.type === 'chat.create' ? 'chat' : 'response'
        const stream = this.gateway.streamOf(message.id, message.request, kind)
        this.send({ type: 'ack', id: message.id, stream: stream.id, epoch: stream.epoch, request_id: 'req' })
        this.read(stream, 0)
        break
      }
      case 'resume':
        this.resume(message)
        break
      case 'response.cancel': {
        const stream = this.gateway.streams.get(message.stream)
        if (stream) stream.cancelled = true
        this.reading.delete(message.stream)
        this.send({ type: 'ack', id: message.id })
        break
      }
      case 'ack': {
        const stream = this.gateway.streams.get(message.stream)
        if (stream) stream.acknowledged = Math.max(stream.acknowledged, message.seq)
        break
      }
      case 'publish': {
        const log = this.gateway.topics.get(message.topic) ?? []
        this.gateway.topics.set(message.topic, log)
        log.push(message.data)
        this.send({ type: 'ack', id: message.id, seq: log.length })
        break
      }
      case 'subscribe': {
        const { topic, seq = this.gateway.topics.get(message.topic)?.length ?? 0 } = message
        this.send({ type: 'ack', id: message.id, topic, epoch: 'topics', seq, recovered: true })
        this.replay(topic, seq)
        break
      }
      case 'ping':
        this.send({ type: 'pong' })
        break
      case 'pong':
        break
      default:
        this.send({ type: 'ack', id: message.id })
    }
  }

  /** An update of a topic. */
  update(topic: string, seq: number, data: unknown): void {
    this.send({ type: 'event', topic, epoch: 'topics', seq, data })
  }

  private welcome(hello: Extract<ClientMessage, { type: 'hello' }>): void {
    const resume = hello.resume.map(({ stream, epoch, seq }) => ({
      stream,
      ...this.recover({ stream, epoch, seq }),
    }))
    const topics = hello.topics.map(({ topic, epoch = 'topics', seq = 0 }) => ({
      topic,
      recovered: true as const,
      epoch,
      seq,
    }))
    const heartbeat_ms = this.gateway.script.heartbeatMs ?? 25_000
    const [connection, node] = ['connection', 'node']
    this.send({ type: 'welcome', connection, node, server_time: 0, heartbeat_ms, limits, resume, topics })
    for (const { topic, seq } of topics) this.replay(topic, seq)
    for (const { stream, seq } of hello.resume) this.readIfRecovered(stream, seq, resume)
  }

  private resume({ id, stream, epoch, seq }: Extract<ClientMessage, { type: 'resume' }>): void {
    const recovery = this.recover({ stream, epoch, seq })
    this.send({ type: 'resumed', id, stream, epoch, ...recovery })
    this.readIfRecovered(stream, seq, [{ stream, ...recovery }])
  }

  private recover({ stream, epoch, seq }: { stream: string; epoch: string; seq: number }) {
    const known = this.gateway.streams.get(stream)
    const own = known?.epoch === epoch ? undefined : 'epoch'
    const reason = known ? (this.gateway.script.unrecoverable?.(known) ?? own) : 'not_found'
    return reason === undefined
      ? ({ recovered: true, from: seq + 1 } as const)
      : ({ recovered: false, reason } as const)
  }

  private readIfRecovered(
    name: string,
    seq: number,
    told: readonly { stream: string; recovered: boolean }[],
  ) {
    const stream = this.gateway.streams.get(name)
    if (stream && told.some((one) => one.stream === name && one.recovered)) this.read(stream, seq)
  }

  private replay(topic: string, seq: number): void {
    for (const [index, data] of (this.gateway.topics.get(topic) ?? []).entries()) {
      if (index >= seq) this.update(topic, index + 1, data)
    }
  }

  private read(stream: ScriptedStream, at: number): void {
    this.reading.set(stream.id, { stream, at })
    this.pump()
  }

  /** A few events of each stream, then lets the others have their turn. */
  private pump(): void {
    if (this.sending) return
    this.sending = true
    setImmediate(() => {
      this.sending = false
      for (const reader of this.reading.values()) this.step(reader)
      if (this.reading.size > 0 && this.socket.readyState === this.socket.OPEN) this.pump()
    })
  }

  private step(reader: { stream: ScriptedStream; at: number }): void {
    const { events } = reader.stream
    const event = events[reader.at]
    if (event === undefined) {
      this.reading.delete(reader.stream.id)
      return
    }
    reader.at++
    this.misbehave(this.gateway.script.fault?.() ?? 'none', event, reader)
  }

  private misbehave(
    fault: Fault,
    event: ServerMessage,
    reader: { stream: ScriptedStream; at: number },
  ): void {
    const { events } = reader.stream
    if (fault === 'drop') this.socket.terminate()
    else if (fault === 'close') this.socket.close(1001, 'age')
    else if (fault === 'overload') this.socket.close(1013, 'slow_consumer')
    else if (fault === 'mute') this.muted = true
    else if (fault === 'skip' && reader.at < events.length) return
    else if (fault === 'unknown') this.send({ type: 'news', of: 'later' } as never)
    else if (fault === 'old') this.send(events[Math.max(0, reader.at - 3)] ?? event)
    else if (fault === 'double') this.send(event)
    else if (fault === 'swap') this.send(events[reader.at] ?? event)
    else if (fault === 'drain') {
      this.send({ type: 'server.draining', deadline_ms: 1_000, reconnect_after_ms: 500 })
      this.socket.close(1012, 'server_draining')
    }
    this.send(event)
  }
}

const limits = {
  message_bytes: 2 ** 20,
  fragments: 64,
  json_depth: 32,
  streams: 16,
  topics: 128,
  connections_per_key: 100,
  messages_per_second: 50,
  messages_burst: 100,
  requests_in_flight: 16,
  age_ms: 3_600_000,
  idle_ms: 600_000,
}

function eventsOf(
  stream: string,
  epoch: string,
  pieces: readonly string[],
  kind: 'chat' | 'response',
): ServerMessage[] {
  const seq = (index: number) => ({ stream, epoch, seq: index + 1 })
  const text = createHash('sha256').update(pieces.join('')).digest('hex')
  const last = pieces.length + 2
  const data = (type: string, number: number) =>
    kind === 'response' ? { data: { type, sequence_number: number - 1 } } : {}
  return [
    {
      type: 'stream.start',
      kind,
      response_id: `of-${stream}`,
      model: 'scripted',
      created: 1,
      ...seq(0),
      ...data('response.created', 1),
    },
    ...pieces.map(
      (piece, index): ServerMessage =>
        kind === 'chat' && index % 7 !== 6
          ? { type: 'stream.delta', text: piece, ...seq(index + 1) }
          : {
              type: 'stream.event',
              text: piece,
              data: { type: 'response.output_text.delta', sequence_number: index + 1, delta: piece },
              ...seq(index + 1),
            },
    ),
    {
      type: 'stream.end',
      last_seq: last,
      finish_reason: 'stop',
      usage: { prompt_tokens: 1, completion_tokens: pieces.length, total_tokens: pieces.length + 1 },
      sha256: text,
      ...seq(last - 1),
      ...data('response.completed', last),
    },
  ]
}
