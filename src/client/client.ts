import type { ChatParameters, ResponseParameters } from './chat-parameters.ts'
import { endpointOf, keyOf } from './credentials.ts'
import { Deferred } from './deferred.ts'
import { cancelled } from './failure.ts'
import type {
  ChatEvent,
  ChatStream,
  ChatUsage,
  GenerationOptions,
  Position,
  ResponseEvent,
  ResponseStream,
  ResponseUsage,
} from './generation.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import { Listeners } from './listeners.ts'
import type { Request } from './messages.ts'
import type { ClientEvents, HelixFlowOptions, Surroundings } from './options.ts'
import { RunningStream, type RunningStreamOptions, type TrackedStream } from './running-stream.ts'
import { Session, type SessionEvents } from './session.ts'
import { chatEvent, responseEvent } from './stream-events.ts'
import { machineTime } from './time.ts'
import type { TopicSubscription } from './topic-updates.ts'

const BUFFER_EVENTS = 1_024
const GIVE_UP_MS = 120_000

/**
 * A HelixFlow server over one WebSocket: generations that survive a break of the connection, and topics. It connects on
 * first use.
 */
export class HelixFlowClient {
  private readonly session: Session
  private readonly listeners = new Listeners<ClientEvents>()
  private readonly bufferEvents: number

  /** @throws HelixFlowError when the options are not complete */
  constructor(
    private readonly options: HelixFlowOptions,
    { time = machineTime, random = Math.random }: Partial<Surroundings> = {},
  ) {
    this.bufferEvents = eventsOf(options)
    let requests = 0
    this.session = new Session({
      endpoint: endpointOf(options),
      time,
      random,
      giveUpMs: options.giveUpMs ?? GIVE_UP_MS,
      nextId: () => `hf-${++requests}`,
      events: this.tellings(),
    })
  }

  get state(): ClientEvents['state'] {
    return this.session.state
  }

  /** Begins a chat completion. */
  chat(request: ChatParameters, options: GenerationOptions = {}): ChatStream {
    const stream = new RunningStream<ChatEvent, ChatUsage>(this.streamOptions(options, chatEvent))
    this.begin('chat.create', stream, request, options)
    return stream
  }

  /** Begins a response of the Responses API. */
  respond(request: ResponseParameters, options: GenerationOptions = {}): ResponseStream {
    const stream = new RunningStream<ResponseEvent, ResponseUsage>(this.streamOptions(options, responseEvent))
    this.begin('response.create', stream, request, options)
    return stream
  }

  /** Goes on with a chat where another reader has come to; its result has the text from there. */
  attachChat(from: Position, options: Pick<GenerationOptions, 'signal'> = {}): ChatStream {
    const stream = new RunningStream<ChatEvent, ChatUsage>({
      ...this.streamOptions(options, chatEvent),
      from,
    })
    this.session.attach(stream, from)
    return stream
  }

  /** The same for a response. */
  attachResponse(from: Position, options: Pick<GenerationOptions, 'signal'> = {}): ResponseStream {
    const stream = new RunningStream<ResponseEvent, ResponseUsage>({
      ...this.streamOptions(options, responseEvent),
      from,
    })
    this.session.attach(stream, from)
    return stream
  }

  /** Follows a topic from now on. `Data` is what you know of it; nothing checks that. */
  subscribe<Data = unknown>(topic: string): TopicSubscription<Data> {
    return this.session.topics.follow(topic, this.bufferEvents) as TopicSubscription<Data>
  }

  /** Publishes to a topic `custom/...`, once; resolves with its number there. */
  async publish(topic: string, data: unknown, { key = randomId() }: { key?: string } = {}): Promise<number> {
    return (await this.request({ type: 'publish', topic, data: data as never, key }, true)).seq ?? 0
  }

  /** A notice for every connection of the organisation. */
  async broadcast(message: string, level: 'info' | 'warning' = 'info'): Promise<void> {
    await this.request({ type: 'broadcast', message, level }, false)
  }

  /** @returns what ends it */
  on<Name extends keyof ClientEvents>(name: Name, listener: (value: ClientEvents[Name]) => void): () => void {
    return this.listeners.add(name, listener)
  }

  /** Connects, and stays connected although nothing goes on: for notices. */
  connect(): void {
    this.session.connect()
  }

  /** Cancels what goes on and ends the connection for ever. */
  close(): Promise<void> {
    return this.session.close(new HelixFlowError('closed', 'The client was closed.'))
  }

  private begin(
    type: 'chat.create' | 'response.create',
    stream: TrackedStream,
    request: object,
    { signal, detachMs }: GenerationOptions,
  ): void {
    if (signal?.aborted) {
      stream.fail(cancelled(signal.reason))
      return
    }
    const detach = detachMs === undefined ? {} : { detach_ms: detachMs }
    this.session.begin(stream, { type, id: stream.id, request: { ...request }, ...detach })
  }

  private streamOptions<Event>(
    { id = randomId(), signal }: GenerationOptions,
    event: RunningStreamOptions<Event>['event'],
  ): RunningStreamOptions<Event> {
    return { id, signal, event, link: this.session, bufferEvents: this.bufferEvents }
  }

  private request(request: Request, repeatable: boolean): Promise<{ readonly seq?: number }> {
    const answer = new Deferred<{ readonly seq?: number }>()
    this.session.ask(request, {
      repeatable,
      asker: {
        answered: (reply) => answer.resolve('seq' in reply ? reply : {}),
        refused: answer.reject,
      },
    })
    return answer.promise
  }

  private tellings(): SessionEvents {
    const { listeners } = this
    return {
      state: (state) => listeners.tell('state', state),
      notice: ({ message, level, from }) => listeners.tell('notice', { message, level, from }),
      failure: (error) => listeners.tell('failure', error),
      expiring: (inMs) => {
        listeners.tell('expiring', { inMs })
        if (this.options.ticket !== undefined) this.session.renew()
        else if (typeof this.options.apiKey === 'function') void this.refresh()
      },
    }
  }

  /** Without another key the connection ends when the old one does, and everybody is told then. */
  private async refresh(): Promise<void> {
    try {
      await this.request({ type: 'auth.refresh', token: await keyOf(this.options) }, false)
    } catch (reason) {
      const error = reason instanceof HelixFlowError ? reason : noKey(reason)
      this.listeners.tell('failure', error)
    }
  }
}

/** Where none were kept a reader would wait for ever. */
function eventsOf({ bufferEvents = BUFFER_EVENTS }: HelixFlowOptions): number {
  if (Number.isSafeInteger(bufferEvents) && bufferEvents >= 1) return bufferEvents
  throw new HelixFlowError('invalid_configuration', 'bufferEvents must be a whole number from 1 on.')
}

function noKey(cause: unknown): HelixFlowError {
  return new HelixFlowError('unreachable', 'There is no other key at the moment.', { retryable: true, cause })
}

function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
