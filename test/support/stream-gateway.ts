import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { parseConfig } from '../../src/config/schema.ts'
import type { HelixError } from '../../src/core/errors.ts'
import { silentLog } from '../../src/core/log.ts'
import { openRedis, type RedisConnection } from '../../src/redis/connection.ts'
import { RedisChannels } from '../../src/streams/redis-channels.ts'
import { RedisStreams, type RedisStreamsOptions } from '../../src/streams/redis-streams.ts'
import { RedisTopics } from '../../src/streams/redis-topics.ts'
import { RedisSecrets } from '../../src/streams/secrets.ts'
import type { Cursor, Stream, StreamHead, StreamWriter } from '../../src/streams/stream.ts'
import { isLast, type StreamEvent, type Unrecoverable } from '../../src/streams/stream-event.ts'
import { systemClock } from '../../src/system.ts'

export type StreamGatewaySettings = Partial<
  Pick<
    RedisStreamsOptions,
    'eventsMax' | 'bytesMax' | 'keepMs' | 'timeoutMs' | 'orphaned' | 'stays' | 'prefix'
  >
>

/** The streams of one gateway as it has them, without the gateway. */
export class StreamGateway {
  private constructor(
    readonly redis: RedisConnection,
    readonly channels: RedisChannels,
    readonly streams: RedisStreams,
    readonly topics: RedisTopics,
    readonly secrets: RedisSecrets,
    readonly id: string,
  ) {}

  static async start(
    address: { readonly urls: readonly string[]; readonly mode?: string; readonly sentinelName?: string },
    settings: StreamGatewaySettings = {},
  ): Promise<StreamGateway> {
    const redis = openRedis(parseConfig({ redis: address }).redis, silentLog)
    const subscriber = redis.subscriber()
    for (const client of [redis.client, subscriber])
      while (client.status !== 'ready') await new Promise((resolve) => client.once('ready', resolve))
    const id = randomUUID()
    const channels = new RedisChannels({
      client: redis.client,
      subscriber,
      clock: systemClock,
      log: silentLog,
    })
    const { client } = redis
    const common = { client, channels, prefix: settings.prefix ?? 'test', gateway: id, clock: systemClock }
    const streams = new RedisStreams({
      ...common,
      // The machine of the tests has other things to do, too.
      timeoutMs: 1_000,
      eventsMax: 10_000,
      bytesMax: 4 * 2 ** 20,
      keepMs: 120_000,
      log: silentLog,
      ...settings,
    })
    const topics = new RedisTopics(common)
    await streams.start()
    return new StreamGateway(redis, channels, streams, topics, new RedisSecrets(common), id)
  }

  /** As if its process had been killed: nothing is said to anybody. */
  async kill(): Promise<void> {
    await this.redis.stop()
    await this.topics.stop()
    await this.streams.stop()
    this.channels.stop()
  }

  async stop(): Promise<void> {
    await this.topics.stop()
    await this.streams.stop()
    this.channels.stop()
    await this.redis.stop()
  }
}

export function streamHead(change: Partial<StreamHead> = {}): StreamHead {
  return {
    id: `str_${randomBytes(16).toString('hex')}`,
    epoch: randomBytes(8).toString('hex'),
    tenant: 'org_a',
    projectId: 'proj_a',
    kind: 'chat',
    requestId: 'req_a',
    model: 'm',
    createdAtMs: 1,
    includeUsage: false,
    detachMs: Number.POSITIVE_INFINITY,
    ...change,
  }
}

/** What stops generating when it is told to. */
export class Generator {
  readonly reasons: HelixError[] = []

  cancel(reason: HelixError): void {
    this.reasons.push(reason)
  }
}

/** Writes numbered words; `text` of each is in its data. */
export function write(writer: StreamWriter, count: number): void {
  for (let made = 0; made < count; made++)
    writer.append('delta', JSON.stringify({ text: `${writer.nextSeq} ` }))
}

/** Reads all there is, and all that comes. */
export class Listener {
  readonly events: StreamEvent[] = []
  lost: Unrecoverable | undefined
  private cursor: Cursor | undefined

  /** @throws Error when it is refused */
  static open(stream: Stream | Unrecoverable, afterSeq = 0, epoch?: string): Listener {
    const listener = new Listener()
    const refusal = listener.open(stream, afterSeq, epoch)
    if (refusal) throw new Error(`refused: ${refusal}`)
    return listener
  }

  /** @returns why it is refused */
  open(stream: Stream | Unrecoverable, afterSeq: number, epoch?: string): Unrecoverable | undefined {
    if (typeof stream === 'string') return stream
    const opened = stream.open(
      afterSeq,
      {
        ready: () => this.drain(),
        lost: (reason) => {
          this.lost = reason
        },
      },
      epoch,
    )
    if (typeof opened === 'string') return opened
    this.cursor = opened
    this.drain()
    return undefined
  }

  get seqs(): number[] {
    return this.events.map(({ seq }) => seq)
  }

  get ended(): boolean {
    const last = this.events.at(-1)
    return last !== undefined && isLast(last)
  }

  acknowledge(seq: number): void {
    this.cursor?.acknowledge(seq)
  }

  close(): void {
    this.cursor?.close()
    this.cursor = undefined
  }

  private drain(): void {
    for (let event = this.cursor?.next(); event; event = this.cursor?.next()) this.events.push(event)
  }
}

/** Of the text of all events. */
export function hashOf(events: readonly StreamEvent[]): string {
  const hash = createHash('sha256')
  for (const { data } of events) hash.update(data)
  return hash.digest('hex')
}

export function upTo(last: number, first = 1): number[] {
  return Array.from({ length: last - first + 1 }, (_, place) => first + place)
}
