import pg from 'pg'
import { type Clock, delay } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import { toStorageError } from './storage-error.ts'

export interface ListenRequest {
  readonly channel: string
  readonly onMessage: (payload: string) => void
  /** Called each time that it hears again: what was sent meanwhile is lost. */
  readonly onReconnect: () => void
  readonly settings: pg.ClientConfig
  readonly log: Logger
  readonly clock: Clock
}

/** How often a silent connection is asked whether it still lives. */
const HEARTBEAT_MS = 10_000
const RECONNECT_DELAY_MIN_MS = 50
const RECONNECT_DELAY_MAX_MS = 2_000

/** One channel of LISTEN, on a connection that nothing else uses. */
export class Listener {
  private readonly stopping = new AbortController()
  private client: pg.Client | undefined
  /** Resolves when the present connection is gone. */
  private lost: Promise<void> = Promise.resolve()
  private running: Promise<void> = Promise.resolve()

  constructor(private readonly request: ListenRequest) {}

  /** @throws HelixError `storage_unavailable` */
  async start(): Promise<void> {
    await this.connect()
    this.running = this.run()
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    this.client?.connection.stream.destroy()
    await this.running
  }

  private async run(): Promise<void> {
    const { log, clock, channel, onReconnect } = this.request
    for (let failures = 0; ; ) {
      await this.lost
      if (this.stopping.signal.aborted) return
      try {
        await this.connect()
        failures = 0
        log.info('listening again', { channel })
        onReconnect()
      } catch (reason) {
        failures += 1
        log.warn('not listening', { channel, failures, cause: String(reason) })
        const delayMs = Math.min(RECONNECT_DELAY_MAX_MS, RECONNECT_DELAY_MIN_MS * 2 ** failures)
        // Rejects only when this listener is stopped, which the loop sees.
        await delay(clock, delayMs, this.stopping.signal).catch(() => {})
      }
    }
  }

  private async connect(): Promise<void> {
    const { channel, settings, onMessage, log } = this.request
    const client = new pg.Client({ ...settings, application_name: `helixflow listen ${channel}` })
    this.client = client
    this.lost = new Promise((resolve) => client.once('end', resolve))
    client.on('error', (error) => log.debug('listening connection lost', { channel, cause: error.message }))
    client.on('notification', ({ payload }) => onMessage(payload ?? ''))
    try {
      await client.connect()
      await client.query(`listen ${client.escapeIdentifier(channel)}`)
    } catch (reason) {
      client.connection.stream.destroy()
      throw toStorageError(reason)
    }
    this.beat(client)
  }

  /** A cable that was pulled out says nothing; only a question without an answer tells. */
  private beat(client: pg.Client): void {
    const cancel = this.request.clock.schedule(HEARTBEAT_MS, () => {
      client.off('end', cancel)
      client.query('select 1').then(
        () => this.beat(client),
        () => client.connection.stream.destroy(),
      )
    })
    client.once('end', cancel)
  }
}
