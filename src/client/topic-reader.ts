import { Deferred } from './deferred.ts'
import { EventQueue } from './event-queue.ts'
import { HelixFlowError } from './helix-flow-error.ts'
import type { TopicSubscription, TopicUpdate } from './topic-updates.ts'

const BUFFER_SIZE_MAX = 2 ** 20

/** One who follows a topic. */
export class TopicReader implements TopicSubscription {
  private readonly queue: EventQueue<TopicUpdate>
  private readonly beginning = new Deferred<void>()
  /** Why what comes next is not what follows the last one. */
  private gap: string | undefined
  /** Whether updates were thrown away before the oldest one that is kept. */
  private dropped = false
  private reading = false

  /** @param left called once, when it does not follow any more */
  constructor(
    readonly topic: string,
    bufferEvents: number,
    private readonly left: (reader: TopicReader) => void,
  ) {
    this.queue = new EventQueue({ items: bufferEvents, size: BUFFER_SIZE_MAX })
  }

  get ready(): Promise<void> {
    return this.beginning.promise
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TopicUpdate, void, undefined> {
    // Its end would be the end of the one that reads already.
    if (this.reading) throw new HelixFlowError('consumed', 'The updates of this subscription are being read.')
    this.reading = true
    try {
      for (;;) {
        const update = await this.queue.take()
        if (update === undefined) return
        const missed = update.missed ?? (this.dropped ? 'slow' : undefined)
        this.dropped = false
        yield missed === update.missed ? update : { ...update, missed }
      }
    } finally {
      this.reading = false
      this.close()
    }
  }

  close(): void {
    this.end()
  }

  began(): void {
    this.beginning.resolve()
  }

  accept(update: TopicUpdate, size: number): void {
    while (this.queue.isFull) {
      this.queue.shift()
      this.dropped = true
    }
    this.queue.push({ ...update, missed: this.gap }, size)
    this.gap = undefined
  }

  missed(reason: string): void {
    this.gap ??= reason
  }

  end(error?: HelixFlowError): void {
    this.queue.end(error)
    this.beginning.reject(error ?? new HelixFlowError('closed', 'The subscription was closed.'))
    this.left(this)
  }
}
