import { Connection, type ConnectionOwner, type ConnectionState, type Endpoint } from './connection.ts'
import { toError } from './failure.ts'
import type { Position } from './generation.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { Ack, Hello, Request, ServerMessage, StreamMessage, Welcome } from './messages.ts'
import { type Asker, type RequestOptions, Requests } from './requests.ts'
import type { StreamLink, TrackedStream } from './running-stream.ts'
import type { Time } from './time.ts'
import { Topics } from './topics.ts'

export interface SessionParts {
  readonly endpoint: Endpoint
  readonly time: Time
  readonly random: () => number
  readonly giveUpMs: number
  /** Names of requests, each another one. */
  readonly nextId: () => string
  readonly events: SessionEvents
}

/** What is told to whoever asked for it. */
export interface SessionEvents {
  state(state: ConnectionState): void
  notice(message: Extract<ServerMessage, { readonly type: 'notice' }>): void
  expiring(inMs: number): void
  failure(error: HelixFlowError): void
}

const CLIENT = 'helixflow/client'
/** What one greeting may ask for; the server's limit. */
const RESUMES_MAX = 16
const RETRY_MS = 1_000

/** What goes on over the connection, and survives it. */
export class Session implements ConnectionOwner, StreamLink {
  readonly time: Time
  readonly topics: Topics
  /** Whether a connection is wanted although nothing goes on. */
  pinned = false
  private readonly connection: Connection
  private readonly requests: Requests
  /** Those that the server has taken, by its name for them. */
  private readonly streams = new Map<string, TrackedStream>()
  private readonly begun = new Map<string, TrackedStream>()
  private readonly acks = new Map<string, number>()
  private greeted: ReadonlySet<string> = new Set()
  private ended: HelixFlowError | undefined

  constructor(private readonly parts: SessionParts) {
    this.time = parts.time
    this.requests = new Requests(parts.nextId)
    this.topics = new Topics({
      ask: (request, asker) => this.ask(request, { repeatable: true, patient: true, asker }),
      tell: (request) => {
        if (this.state === 'open' && this.ended === undefined)
          this.ask(request, { repeatable: false, always: true, asker: IGNORED })
      },
      later: (task) => void this.time.schedule(RETRY_MS, task),
    })
    this.connection = new Connection({ ...parts, owner: this })
  }

  get state(): ConnectionState {
    return this.connection.state
  }

  get needed(): boolean {
    return this.pinned || this.begun.size > 0 || this.requests.size > 0 || this.topics.size > 0
  }

  /** @throws HelixFlowError `queue_full`, `conflict`, `closed` */
  ask(request: Request, options: RequestOptions): void {
    if (this.ended !== undefined) throw this.ended
    const id = this.requests.add(request, options)
    if (this.state === 'open') this.requests.dispatch((message) => this.connection.send(message), [id])
    else this.connection.ensure()
  }

  /** Has the server begin it. */
  begin(stream: TrackedStream, request: Extract<Request, { readonly request: unknown }>): void {
    if (this.begun.has(stream.id)) {
      stream.fail(taken())
      return
    }
    try {
      const asker: Asker = {
        answered: (reply) => this.began(stream, reply as Ack),
        refused: (error) => stream.fail(error),
      }
      this.ask(request, { repeatable: true, asker })
      this.begun.set(stream.id, stream)
    } catch (reason) {
      if (!(reason instanceof HelixFlowError)) throw reason
      stream.fail(reason)
    }
  }

  /** Goes on with one that another reader began. */
  attach(stream: TrackedStream, position: Position): void {
    const refusal = this.ended ?? (this.streams.has(position.stream) ? taken() : undefined)
    if (refusal !== undefined) {
      stream.fail(refusal)
      return
    }
    this.begun.set(stream.id, stream)
    this.streams.set(position.stream, stream)
    if (this.state === 'open') {
      stream.reconnected()
      this.resume(position)
    } else this.connection.ensure()
  }

  connect(): void {
    this.pinned = true
    this.connection.ensure()
  }

  renew(): void {
    this.connection.renew()
  }

  async close(error: HelixFlowError): Promise<void> {
    this.ended = error
    for (const stream of [...this.begun.values()]) {
      stream.cancel()
    }
    this.topics.end()
    await this.connection.close()
    this.requests.fail(error)
  }

  // What a stream asks for.

  resume(position: Position): void {
    // The greeting of the next connection asks for all of them.
    if (this.state !== 'open') return
    const { stream, epoch, seq } = position
    const asker: Asker = {
      answered: (reply) => {
        if (reply.type !== 'resumed' || reply.recovered) this.streams.get(stream)?.resumed()
        else this.streams.get(stream)?.unrecoverable(reply.reason)
      },
      refused: (error) => this.notResumed(position, error),
    }
    this.ask({ type: 'resume', stream, epoch, seq }, { repeatable: false, always: true, asker })
  }

  acknowledge({ stream, seq }: Position): void {
    if (this.state !== 'open') return
    const waits = this.acks.has(stream)
    this.acks.set(stream, seq)
    // One that waits for its turn says the newest when it has come.
    if (!waits) this.connection.send(() => this.takeAck(stream))
  }

  cancel(id: string, position: Position | undefined): void {
    this.requests.abandon(id)
    if (position !== undefined && this.ended === undefined) {
      this.ask(
        { type: 'response.cancel', stream: position.stream },
        { repeatable: true, always: true, asker: IGNORED },
      )
    } else if (position !== undefined) {
      const { stream } = position
      this.connection.send(() => JSON.stringify({ type: 'response.cancel', id: this.parts.nextId(), stream }))
    }
  }

  over(stream: TrackedStream): void {
    const { id, position } = stream
    // What was refused because another has its name takes nothing from that one.
    if (this.begun.get(id) === stream) this.begun.delete(id)
    if (position !== undefined && this.streams.get(position.stream) === stream)
      this.streams.delete(position.stream)
  }

  // What the connection tells.

  hello(): Hello {
    const open = [...this.streams.values()].slice(0, RESUMES_MAX)
    const resume = open.flatMap((stream) => {
      stream.reconnected()
      return stream.position ?? []
    })
    this.greeted = new Set(resume.map(({ stream }) => stream))
    return { type: 'hello', client: CLIENT, resume, topics: this.topics.greeting() }
  }

  opened(welcome: Welcome): void {
    for (const told of welcome.resume) {
      const stream = this.streams.get(told.stream)
      if (told.recovered) stream?.resumed()
      else if (told.reason === 'unavailable' && stream?.position)
        this.notResumed(stream.position, unavailable())
      else stream?.unrecoverable(told.reason)
    }
    this.topics.welcomed(welcome.topics)
    for (const [name, stream] of [...this.streams]) {
      if (this.greeted.has(name) || stream.position === undefined) continue
      stream.reconnected()
      this.resume(stream.position)
    }
    this.requests.dispatch((message) => this.connection.send(message))
  }

  message(message: ServerMessage, size: number): void {
    switch (message.type) {
      case 'ack':
      case 'resumed':
        this.requests.answered(message)
        break
      case 'error':
        this.refused(message)
        break
      case 'event':
        this.topics.accept(message, size)
        break
      case 'notice':
        this.parts.events.notice(message)
        break
      case 'auth.expiring':
        this.parts.events.expiring(message.in_ms)
        break
      default:
        if (isOfStream(message)) this.streams.get(message.stream)?.accept(message, size)
    }
  }

  lost(): void {
    this.acks.clear()
    this.requests.lost()
  }

  unreachable(error: HelixFlowError): void {
    for (const stream of [...this.begun.values()]) stream.fail(error)
    this.requests.giveUp(error)
  }

  failed(error: HelixFlowError): void {
    this.unreachable(error)
    this.requests.fail(error)
    this.topics.end(error)
    this.pinned = false
    this.parts.events.failure(error)
  }

  changed(state: ConnectionState): void {
    this.parts.events.state(state)
  }

  private takeAck(stream: string): string {
    const seq = this.acks.get(stream)
    this.acks.delete(stream)
    return JSON.stringify({ type: 'ack', stream, seq })
  }

  private refused(message: Extract<ServerMessage, { readonly type: 'error' }>): void {
    const { id, stream, topic, error } = message
    if (id !== undefined) this.requests.refused(id, message)
    else if (topic !== undefined) this.topics.refused(topic, toError(message))
    else if (stream !== undefined && error.code === 'stream_unrecoverable')
      this.streams.get(stream)?.missing()
    else if (stream !== undefined) this.streams.get(stream)?.fail(toError(message))
  }

  private began(stream: TrackedStream, { stream: name, epoch }: Ack): void {
    if (name === undefined || epoch === undefined) {
      stream.fail(new HelixFlowError('unexpected_message', 'The server named no stream.'))
    } else if (this.streams.has(name)) {
      // Another reader here has come to it by its position.
      stream.fail(taken())
    } else if (this.begun.has(stream.id)) {
      stream.began(name, epoch)
      this.streams.set(name, stream)
    } else {
      // It was cancelled while the answer was on its way.
      this.cancel(stream.id, { stream: name, epoch, seq: 0 })
    }
  }

  private notResumed(position: Position, error: HelixFlowError): void {
    if (error.code === 'connection_lost') return
    const stream = this.streams.get(position.stream)
    if (!error.retryable) {
      stream?.fail(error)
      return
    }
    this.time.schedule(error.retryAfterMs ?? RETRY_MS, () => {
      const now = this.streams.get(position.stream)
      if (now?.position !== undefined) this.resume(now.position)
    })
  }
}

function taken(): HelixFlowError {
  return new HelixFlowError('conflict', 'This stream is read here already.')
}

function unavailable(): HelixFlowError {
  return new HelixFlowError('storage_unavailable', 'The stream cannot be reached at the moment.', {
    retryable: true,
  })
}

const IGNORED: Asker = { answered: () => {}, refused: () => {} }

function isOfStream(message: ServerMessage): message is StreamMessage {
  return message.type.startsWith('stream.')
}
