import { parseRequest } from '../../contracts/openai/parse.ts'
import { may } from '../../contracts/permissions.ts'
import {
  ClientMessage,
  type ConnectionLimits,
  type ResumeRefusal,
  type ServerMessage,
  type TopicRecovery,
} from '../../contracts/realtime.ts'
import { type ErrorCode, HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { CredentialAttempts } from '../metrics/credential-attempts.ts'
import { errorFields } from '../streaming/chat-scribe.ts'
import { CLOSE } from './close-codes.ts'
import type { Connection } from './connection.ts'
import type { Connections } from './connections.ts'
import { textFrame } from './frames.ts'
import { messageText } from './message-frames.ts'
import { SWEEP_MS } from './pulse.ts'
import {
  type Attached,
  recoveryOf,
  SessionStreams,
  type SessionStreamsParts,
  unrecoverable,
} from './session-streams.ts'
import { SessionTopics, type SessionTopicsParts, type Subscribed } from './session-topics.ts'
import { SocketCaller, type SocketCallerParts } from './socket-caller.ts'
import type { DrainNotice, Said, Speaker } from './speaker.ts'

export interface SessionParts extends SessionStreamsParts, SessionTopicsParts {
  readonly credentials: SocketCallerParts['credentials']
  readonly connections: Connections
  readonly attempts: CredentialAttempts
  readonly node: string
  readonly heartbeatMs: number
  readonly helloTimeoutMs: number
  readonly limits: ConnectionLimits
  readonly log: Logger
}

type Hello = Extract<ClientMessage, { type: 'hello' }>
type Request = Exclude<ClientMessage, Hello | { type: 'ack' | 'ping' | 'pong' }>
type Answer = Omit<Extract<ServerMessage, { type: 'ack' }>, 'type' | 'id'>

const TYPES: ReadonlySet<unknown> = new Set(ClientMessage.options.map(({ shape }) => shape.type.value))
/** How often it is asked whether a connection may still follow its topics. */
const RECHECK_MS = 10_000

/** One client of `/ws`: what it says, and what it is told. */
export class Session implements Speaker {
  private readonly caller: SocketCaller
  // Made when they are needed: most connections are idle most of the time.
  private madeStreams: SessionStreams | undefined
  private madeTopics: SessionTopics | undefined
  private opening: Promise<void> | undefined
  private isGreeted = false
  private checkedMs: number
  private onGone: Set<() => void> | undefined

  constructor(
    private readonly parts: SessionParts,
    private readonly connection: Connection,
    { credential, identity }: { readonly credential: string; readonly identity: SocketCallerIdentity },
  ) {
    this.checkedMs = connection.pulse.openedMs
    this.caller = new SocketCaller(
      {
        credentials: parts.credentials,
        clock: parts.clock,
        address: connection.opened.address,
        end: (code, reason) => connection.close(code, reason),
        expiring: (inMs) => this.say({ type: 'auth.expiring', in_ms: inMs }),
      },
      credential,
      identity,
    )
  }

  get busy(): boolean {
    return this.streams > 0 || (this.madeTopics?.size ?? 0) > 0
  }

  get streams(): number {
    return this.madeStreams?.live ?? 0
  }

  message(said: Said): Promise<void> | boolean {
    const { type } = said
    if (!TYPES.has(type)) {
      this.parts.connections.tally.add('in', 'unknown')
      this.refuse(new HelixError('unknown_type', 'There is no such message.', { param: 'type' }), said)
      return false
    }
    this.parts.connections.tally.add('in', String(type))
    let message: ClientMessage
    try {
      message = parseRequest(ClientMessage, said)
    } catch (reason) {
      this.refuse(HelixError.from(reason), said)
      return true
    }
    return this.hear(message)
  }

  refuse(error: HelixError, said: Said | undefined): void {
    const id = said?.['id']
    this.tell(error, typeof id === 'string' && id.length <= 128 ? { id } : {})
  }

  tick(nowMs: number): void {
    const { helloTimeoutMs } = this.parts
    if (!this.opening && nowMs + SWEEP_MS - this.connection.pulse.openedMs >= helloTimeoutMs)
      this.connection.close(CLOSE.noHello, 'no_hello')
    this.caller.tick()
    if (!this.madeTopics?.size || nowMs - this.checkedMs < RECHECK_MS) return
    this.checkedMs = nowMs
    void this.recheck()
  }

  leaving({ deadlineMs, reconnectAfterMs }: DrainNotice): void {
    this.sayOnceGreeted({
      type: 'server.draining',
      deadline_ms: deadlineMs,
      reconnect_after_ms: reconnectAfterMs,
    })
  }

  announced(frame: Buffer): void {
    if (!this.isGreeted) return
    this.parts.connections.tally.add('out', 'notice')
    this.connection.send(frame)
  }

  follows(): Iterable<string> {
    return this.madeTopics?.names() ?? []
  }

  closed(): void {
    this.caller.stop()
    this.madeStreams?.stop()
    this.madeTopics?.stop()
    const { onGone } = this
    this.onGone = undefined
    for (const tell of onGone ?? []) tell()
  }

  private hear(message: ClientMessage): Promise<void> | boolean {
    if (message.type === 'hello') {
      if (this.opening) {
        this.tell(new HelixError('invalid_value', 'You have said hello.', { param: 'type' }), {})
        return true
      }
      this.opening = this.greet(message).catch((reason) => this.fail(HelixError.from(reason)))
      return this.opening
    }
    if (!this.opening) {
      this.connection.close(CLOSE.noHello, 'no_hello')
      return true
    }
    if (message.type === 'ping')
      this.say({ type: 'pong', ...(message.n === undefined ? {} : { n: message.n }) })
    else if (message.type === 'ack') this.streamed.acknowledge(message.stream, message.seq)
    else if (message.type !== 'pong') return this.answer(message)
    return true
  }

  /** Every request gets exactly one answer. */
  private async answer(message: Request): Promise<void> {
    try {
      if (!this.isGreeted) await this.opening
      await this.perform(message)
    } catch (reason) {
      const error = HelixError.from(reason)
      if (error.code === 'internal_error')
        this.parts.log.error('message failed', { type: message.type, cause: error.message })
      this.tell(error, { id: message.id })
    }
  }

  private async perform(message: Request): Promise<void> {
    switch (message.type) {
      case 'chat.create':
      case 'response.create': {
        const { stream, begin } = await this.streamed.create(message)
        const { id, epoch, requestId } = stream.head
        this.acknowledge(message, { stream: id, epoch, request_id: requestId })
        return begin()
      }
      case 'resume':
        return this.resume(message)
      case 'subscribe': {
        const { begin, epoch, seq, recovered } = await this.topics.subscribe(message)
        this.acknowledge(message, { topic: message.topic, epoch, seq, recovered })
        return begin()
      }
      case 'publish':
        return this.acknowledge(message, { topic: message.topic, seq: await this.topics.publish(message) })
      case 'response.cancel':
        await this.streamed.cancel(message.stream)
        return this.acknowledge(message, { stream: message.stream })
      case 'leave':
        this.streamed.leave(message.stream)
        return this.acknowledge(message, { stream: message.stream })
      case 'unsubscribe':
        this.topics.unsubscribe(message.topic)
        return this.acknowledge(message, { topic: message.topic })
      case 'auth.refresh':
        await this.refresh(message.token)
        return this.acknowledge(message, {})
      case 'broadcast':
        await this.broadcast(message)
        return this.acknowledge(message, {})
    }
  }

  private async refresh(token: string): Promise<void> {
    const { attempts } = this.parts
    try {
      await this.caller.refresh(token)
      attempts.presented(token)
    } catch (reason) {
      attempts.presented(token, HelixError.from(reason))
      throw reason
    }
  }

  private async resume({ id, stream, epoch, seq }: Extract<Request, { type: 'resume' }>): Promise<void> {
    const attached = await this.streamed.recover({ stream, epoch, seq })
    const recovery = recoveryOf(attached, seq)
    this.parts.connections.tally.resumed(recovery.recovered ? 'recovered' : recovery.reason)
    this.say({ type: 'resumed', id, stream, ...recovery, ...(recovery.recovered ? { epoch } : {}) })
    if (typeof attached !== 'string') attached.begin()
  }

  private async broadcast({ message, level }: Extract<Request, { type: 'broadcast' }>): Promise<void> {
    const { actor, organisationId, rights } = await this.caller.identify()
    if (!may(rights, 'organisation.write'))
      throw new HelixError(
        'insufficient_permissions',
        "This credential does not have the permission 'organisation.write'.",
      )
    const notice: ServerMessage = { type: 'notice', message, level, from: actor }
    this.parts.topics.announce(organisationId, messageText(notice))
  }

  private async greet({ resume, topics }: Hello): Promise<void> {
    const { clock, node, heartbeatMs, limits } = this.parts
    const attached = await Promise.all(resume.map((position) => this.recovered(position)))
    const subscribed = await Promise.all(topics.map((wanted) => this.subscribed(wanted)))
    const resumed = attached.map((one, at) => {
      const { stream = '', seq = 0 } = resume[at] ?? {}
      const recovery = recoveryOf(one, seq)
      this.parts.connections.tally.resumed(recovery.recovered ? 'recovered' : recovery.reason)
      return { stream, ...recovery }
    })
    this.isGreeted = true
    this.say({
      type: 'welcome',
      connection: this.connection.opened.requestId,
      node,
      server_time: clock.now(),
      heartbeat_ms: heartbeatMs,
      limits,
      resume: resumed,
      topics: subscribed.map(({ recovery }) => recovery),
    })
    for (const one of attached) if (typeof one !== 'string') one.begin()
    for (const { begin } of subscribed) begin?.()
  }

  /** One that nobody can say anything of at the moment keeps no other from going on. */
  private async recovered(position: Hello['resume'][number]): Promise<Attached | ResumeRefusal> {
    try {
      return await this.streamed.recover(position)
    } catch (reason) {
      if (HelixError.from(reason).code !== 'storage_unavailable') throw reason
      return 'unavailable'
    }
  }

  private async subscribed(
    wanted: Hello['topics'][number],
  ): Promise<{ readonly recovery: TopicRecovery; readonly begin?: Subscribed['begin'] }> {
    const { topic } = wanted
    try {
      const { begin, ...position } = await this.topics.subscribe(wanted)
      return { recovery: { topic, ...position }, begin }
    } catch (reason) {
      const { code } = HelixError.from(reason)
      const refusal = TOPIC_REFUSALS[code]
      if (!refusal) throw reason
      return { recovery: { topic, recovered: false, reason: refusal } }
    }
  }

  /** Nothing can be said on a connection that cannot be opened. */
  private fail(error: HelixError): void {
    this.tell(error, {})
    this.connection.close(error.retryable ? CLOSE.overload : CLOSE.abuse, error.code)
  }

  private async recheck(): Promise<void> {
    try {
      for (const topic of await this.topics.recheck())
        this.tell(new HelixError('insufficient_permissions', 'The topic may not be followed any more.'), {
          topic,
        })
    } catch {
      // Who cannot be asked about for a moment is asked about again.
    }
  }

  private acknowledge({ id }: Request, answer: Answer): void {
    this.say({ type: 'ack', id, ...answer })
  }

  private tell(
    error: HelixError,
    about: { readonly id?: string; readonly stream?: string; readonly topic?: string },
  ): void {
    this.say({ type: 'error', ...about, ...errorFields(error) })
  }

  private sayOnceGreeted(message: ServerMessage): void {
    if (this.isGreeted) this.say(message)
  }

  private say(message: ServerMessage): void {
    this.parts.connections.tally.add('out', message.type)
    this.connection.send(textFrame(messageText(message)))
  }

  private get streamed(): SessionStreams {
    const { connections } = this.parts
    this.madeStreams ??= new SessionStreams(this.parts, this.caller, {
      connection: this.connection,
      frames: connections.frames,
      tally: connections.tally,
      presence: this.presence(),
      lost: (stream, reason) => this.tell(unrecoverable(reason), { stream }),
    })
    return this.madeStreams
  }

  private get topics(): SessionTopics {
    const { connections } = this.parts
    this.madeTopics ??= new SessionTopics(this.parts, this.caller, {
      connection: this.connection,
      frames: connections.frames,
      tally: connections.tally,
      gap: (topic, reason) => this.tell(unrecoverable(reason), { topic }),
    })
    return this.madeTopics
  }

  private presence() {
    const session = this
    return {
      get gone() {
        return !session.connection.isOpen
      },
      whenGone: (tell: () => void) => {
        session.onGone ??= new Set()
        session.onGone.add(tell)
        return () => session.onGone?.delete(tell)
      },
    }
  }
}

type SocketCallerIdentity = ConstructorParameters<typeof SocketCaller>[2]

/** Why a topic is not followed, where that is no reason to follow no other. */
const TOPIC_REFUSALS: Partial<Record<ErrorCode, ResumeRefusal | 'forbidden'>> = {
  not_found: 'not_found',
  insufficient_permissions: 'forbidden',
  storage_unavailable: 'unavailable',
}
