import { HelixFlowError } from './helix-flow-error.ts'
import type { Ack, Hello, Request, TopicMessage, Welcome } from './messages.ts'
import type { Asker } from './requests.ts'
import { TopicFeed } from './topic-feed.ts'
import { TopicReader } from './topic-reader.ts'

export interface TopicsParts {
  ask(request: Request, asker: Asker): void
  /** Nobody waits for the answer, and only this connection is concerned. */
  tell(request: Request): void
  later(task: () => void): void
}

/** The topics that are followed over one connection. */
export class Topics {
  private readonly feeds = new Map<string, TopicFeed>()

  constructor(private readonly parts: TopicsParts) {}

  get size(): number {
    return this.feeds.size
  }

  /** @throws HelixFlowError as `Session.ask` */
  follow(topic: string, bufferEvents: number): TopicReader {
    const reader = new TopicReader(topic, bufferEvents, () => this.leave(reader))
    const known = this.feeds.get(topic)
    if (known !== undefined) {
      known.join(reader)
      return reader
    }
    const feed = new TopicFeed(topic)
    feed.join(reader)
    this.feeds.set(topic, feed)
    try {
      this.subscribe(feed)
    } catch (reason) {
      this.feeds.delete(topic)
      throw reason
    }
    return reader
  }

  greeting(): NonNullable<Hello['topics']> {
    return [...this.feeds.values()]
      .filter(({ active }) => active)
      .map(({ topic, from }) => ({ topic, ...from }))
  }

  welcomed(told: Welcome['topics']): void {
    for (const one of told) {
      const feed = this.feeds.get(one.topic)
      if (feed === undefined || one.recovered) continue
      const reason = 'reason' in one ? one.reason : 'gap'
      if (reason === 'forbidden') this.drop(feed, forbidden(one.topic))
      else if (reason === 'unavailable') this.subscribeLater(feed)
      else feed.missed(reason)
    }
  }

  /** Something is wrong with a topic that is followed. */
  refused(topic: string, error: HelixFlowError): void {
    const feed = this.feeds.get(topic)
    if (feed === undefined) return
    if (error.code === 'stream_unrecoverable') feed.missed('gap')
    else this.drop(feed, error)
  }

  accept(message: TopicMessage, size: number): void {
    this.feeds.get(message.topic)?.accept(message, size)
  }

  end(error?: HelixFlowError): void {
    for (const feed of [...this.feeds.values()]) this.drop(feed, error)
  }

  private subscribe(feed: TopicFeed): void {
    this.parts.ask(
      { type: 'subscribe', topic: feed.topic, ...feed.from },
      {
        answered: (reply) => {
          const { epoch, seq } = reply as Ack
          if (this.feeds.get(feed.topic) === feed) feed.began(epoch, seq)
          else if (!this.feeds.has(feed.topic)) this.unsubscribe(feed.topic)
        },
        refused: (error) => {
          if (this.feeds.get(feed.topic) !== feed) return
          if (error.code === 'storage_unavailable') this.subscribeLater(feed)
          else this.drop(feed, error)
        },
      },
    )
  }

  /** The server could not say anything of it. */
  private subscribeLater(feed: TopicFeed): void {
    feed.active = false
    this.parts.later(() => {
      if (this.feeds.get(feed.topic) === feed && !feed.active) this.subscribe(feed)
    })
  }

  private drop(feed: TopicFeed, error: HelixFlowError | undefined): void {
    // Before its readers leave, so that nobody asks the server to end what has ended.
    this.feeds.delete(feed.topic)
    feed.end(error)
  }

  private leave(reader: TopicReader): void {
    const feed = this.feeds.get(reader.topic)
    if (!feed?.readers.delete(reader) || feed.readers.size > 0) return
    this.feeds.delete(reader.topic)
    // Not yet taken: the answer finds that nobody follows it.
    if (feed.active) this.unsubscribe(reader.topic)
  }

  private unsubscribe(topic: string): void {
    this.parts.tell({ type: 'unsubscribe', topic })
  }
}

function forbidden(topic: string): HelixFlowError {
  return new HelixFlowError('insufficient_permissions', `You may not follow '${topic}'.`, { status: 403 })
}
