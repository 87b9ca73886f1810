import type { FastifyInstance } from 'fastify'
import type { Config } from '../../config/schema.ts'
import type { PoolClient } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'
import type { Metrics } from '../../core/metrics.ts'
import type { Random } from '../../core/random.ts'
import type { OneTimeSecrets } from '../../streams/secrets.ts'
import type { StreamStore } from '../../streams/stream.ts'
import type { Topics } from '../../streams/topics.ts'
import type { CredentialCache } from '../credential-cache.ts'
import type { Drain } from '../drain.ts'
import { identified, presentedCredential } from '../hooks/authenticate.ts'
import type { CredentialAttempts } from '../metrics/credential-attempts.ts'
import type { RequestMetrics } from '../metrics/request-metrics.ts'
import type { ResponseRuns } from '../responses/response-runs.ts'
import type { ReadinessChecks } from '../routes/health.ts'
import type { StreamReaders } from '../streaming/stream-readers.ts'
import type { StreamRuns } from '../streaming/stream-runs.ts'
import { chatCreator } from './chat-creator.ts'
import { announcedLimits } from './connection-limits.ts'
import { Connections } from './connections.ts'
import type { Creators } from './creator.ts'
import { Facts } from './facts.ts'
import { textFrame } from './frames.ts'
import { Handshake, type UpgradeTerms } from './handshake.ts'
import { messageText } from './message-frames.ts'
import { alertsPublisher } from './publishers/alerts.ts'
import { devicesPublisher } from './publishers/devices.ts'
import { modelsPublisher } from './publishers/models.ts'
import { presencePublisher } from './publishers/presence.ts'
import { usagePublisher } from './publishers/usage.ts'
import { responseCreator } from './response-creator.ts'
import { ResponsesSpeaker } from './responses-speaker.ts'
import { Session, type SessionParts } from './session.ts'
import { issueTicket } from './ticket-route.ts'
import { Tickets } from './tickets.ts'
import type { UsageMinutes } from './usage-minutes.ts'

export interface RealtimeParts {
  readonly settings: Config['realtime']
  readonly credentials: CredentialCache
  readonly streams: StreamStore
  readonly topics: Topics
  readonly secrets: OneTimeSecrets
  readonly runs: StreamRuns
  readonly readers: StreamReaders
  readonly responses: ResponseRuns
  readonly pool: PoolClient
  readonly readiness: ReadinessChecks
  readonly minutes: UsageMinutes
  readonly drain: Drain
  readonly metrics: Metrics
  readonly instance: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly accessLog: Logger
  readonly requests: RequestMetrics
  readonly attempts: CredentialAttempts
}

/** What `helixflow top` shows of the sockets of a gateway. */
export interface RealtimeStatus {
  readonly connections: number
  /** Generations on their way here. */
  readonly streams: number
  /** Subscriptions by topic, over all connections. */
  readonly topics: Readonly<Record<string, number>>
}

/** Everything that a gateway does over sockets. */
export class Realtime {
  readonly tickets: Tickets
  private readonly connections: Connections
  private readonly handshake: Handshake
  private readonly facts: Facts
  private readonly session: SessionParts
  private readonly unlisten: () => void

  constructor(private readonly parts: RealtimeParts) {
    const { settings, clock, topics, secrets } = parts
    this.connections = new Connections({
      ...parts,
      times: settings,
      streaming: () => parts.streams.producing,
    })
    this.handshake = new Handshake(this.connections, settings, parts.drain)
    this.tickets = new Tickets(secrets, clock)
    this.facts = new Facts(clock, publishersOf(parts))
    this.session = {
      ...parts,
      store: parts.streams,
      creators: creatorsOf(parts),
      facts: this.facts,
      connections: this.connections,
      node: parts.instance,
      heartbeatMs: settings.heartbeat,
      helloTimeoutMs: settings.helloTimeout,
      limits: announcedLimits(settings),
    }
    this.unlisten = topics.onAnnounce((scope, data) => this.announced(scope, data))
  }

  /** Routes behind authentication. */
  register(app: FastifyInstance): void {
    const upgrades = { config: { access: 'authenticated', upgrade: true } } as const
    app.get('/ws', upgrades, this.handshake.route(this.ownTerms()))
    const generates = { config: { access: 'inference', upgrade: true } } as const
    app.get('/v1/responses', generates, this.handshake.route(this.responsesTerms()))
    const known = { config: { access: 'authenticated' } } as const
    app.post('/v1/ws/tickets', known, issueTicket(this.tickets, this.handshake))
  }

  /** The handler of another route that is a socket; it is registered with `config.upgrade`. */
  upgradeRoute(terms: UpgradeTerms) {
    return this.handshake.route(terms)
  }

  /** Tells something to every connection of an organisation, at all gateways. */
  broadcast(
    organisationId: string,
    notice: { readonly message: string; readonly level: 'info' | 'warning' },
  ) {
    const text = messageText({ type: 'notice', ...notice, from: 'operator' })
    this.parts.topics.announce(organisationId, text)
  }

  status(): RealtimeStatus {
    const topics: Record<string, number> = {}
    for (const { spokenBy } of this.connections)
      for (const topic of spokenBy?.follows() ?? []) topics[topic] = (topics[topic] ?? 0) + 1
    return { connections: this.connections.size, streams: this.parts.streams.producing, topics }
  }

  /** Sends everybody away; resolves when nobody is left, or at the deadline. */
  drain(deadlineMs: number): Promise<void> {
    return this.connections.drain(deadlineMs)
  }

  async stop(): Promise<void> {
    this.unlisten()
    await this.connections.stop()
    this.facts.stop()
  }

  private ownTerms(): UpgradeTerms {
    return {
      subprotocol: 'required',
      speaker: (connection, request) =>
        new Session(this.session, connection, {
          credential: presentedCredential(request),
          identity: identified(request),
        }),
    }
  }

  private responsesTerms(): UpgradeTerms {
    return {
      subprotocol: 'ignored',
      speaker: (connection, request) =>
        new ResponsesSpeaker(this.parts, connection, {
          credential: presentedCredential(request),
          identity: identified(request),
        }),
    }
  }

  private announced(scope: string, data: string): void {
    const frame = textFrame(data)
    for (const { opened, spokenBy } of this.connections)
      if (opened.organisationId === scope) spokenBy?.announced(frame)
  }
}

function creatorsOf({ runs, responses }: RealtimeParts): Creators {
  return { 'chat.create': chatCreator(runs), 'response.create': responseCreator(responses) }
}

function publishersOf({ pool, clock, instance, minutes, readiness, topics }: RealtimeParts) {
  return {
    models: modelsPublisher(pool, clock),
    devices: devicesPublisher(pool, clock, instance),
    usage: usagePublisher(minutes, clock),
    alerts: alertsPublisher(readiness, clock),
    presence: presencePublisher(topics, clock),
  }
}
