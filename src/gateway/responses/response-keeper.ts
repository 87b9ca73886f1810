import type { Identity } from '../../contracts/auth.ts'
import type { InputItem } from '../../contracts/openai/response-items.ts'
import type { FoundResponse, ResponsesStore, SavedResponse } from '../../contracts/responses-store.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { Logger } from '../../core/log.ts'
import type { JobNews } from './job-news.ts'
import type { ResponseObject } from './response-object.ts'

export interface ResponseKeeperOptions {
  readonly store: ResponsesStore
  /** Told what becomes of responses in the background, for whoever follows them. */
  readonly jobs: Pick<JobNews, 'tell'>
  readonly clock: Clock
  readonly log: Logger
}

/** A response in the background whose gateway is silent so long is told as failed. */
const LEASE_MS = 60_000
const BEAT_MS = 15_000
/** Ends that could not be kept and wait to be. */
const UNKEPT_MAX = 1_000

/** Whose a response is and what it was asked with. */
export interface ResponseFile {
  readonly identity: Pick<Identity, 'organisationId' | 'projectId' | 'actor'>
  readonly input: readonly InputItem[]
}

/** What becomes of one response, in order. */
export interface ResponseRecord {
  /** Before anything is made. @throws HelixError `storage_unavailable` */
  open(response: ResponseObject): Promise<void>
  /** Another gateway began it, and this one goes on with it. */
  takeOver(response: ResponseObject): void
  /** It never began. */
  drop(): Promise<void>
  progress(response: ResponseObject): void
  /** Resolves with the response as its asker is told of it; never rejects. */
  end(response: ResponseObject): Promise<ResponseObject>
}

/**
 * Keeps responses: those in the background from their beginning, so that they can be asked for, the others when they have
 * ended and before their asker is told so. While a gateway makes responses in the background it says every now and then
 * that it is alive: what it leaves unfinished when it dies is told as failed, a minute later.
 */
export class ResponseKeeper {
  private readonly running = new Set<string>()
  private readonly unkept = new Map<string, SavedResponse>()
  private cancelBeat: (() => void) | undefined
  private stopped = false

  constructor(private readonly options: ResponseKeeperOptions) {}

  /** The record of a response; of one that is not to be kept there is none. */
  record(file: ResponseFile, { store, background }: ResponseObject): ResponseRecord {
    if (!store) return NO_RECORD
    return background ? this.background(file) : this.foreground(file)
  }

  /** Tries once more to keep what could not be kept, and ends. */
  async stop(): Promise<void> {
    this.stopped = true
    this.cancelBeat?.()
    await this.retry()
  }

  private foreground(file: ResponseFile): ResponseRecord {
    const { store, log } = this.options
    return {
      ...NO_RECORD,
      end: async (response) => {
        try {
          await store.insert(saved(file, response))
          return response
        } catch (reason) {
          // What was generated is worth more than that it is kept; the answer says that it is not.
          log.warn('response could not be kept', {
            response: response.id,
            cause: HelixError.from(reason).message,
          })
          return { ...response, store: false }
        }
      },
    }
  }

  private background(file: ResponseFile): ResponseRecord {
    const { store, jobs } = this.options
    let last: Promise<unknown> = Promise.resolve()
    let id = ''
    return {
      open: async (response) => {
        await store.insert(saved(file, response))
        id = response.id
        this.running.add(id)
        this.beatLater()
        jobs.tell(file.identity, response)
      },
      takeOver: (response) => {
        id = response.id
        this.running.add(id)
        void this.beat()
      },
      drop: async () => {
        this.running.delete(id)
        const { organisationId, projectId } = file.identity
        // Where that fails, it is told as failed when its lease is over.
        await store.remove({ organisationId, projectId, id }).catch(() => false)
      },
      progress: (response) => {
        // Said again at the end: that this one is lost does no harm.
        last = store.update(saved(file, response)).catch(() => {})
        jobs.tell(file.identity, response)
      },
      end: async (response) => {
        await last
        const ended = saved(file, response)
        try {
          await store.update(ended)
          this.running.delete(id)
        } catch (reason) {
          this.keepLater(ended, reason)
        }
        jobs.tell(file.identity, response)
        return response
      },
    }
  }

  private keepLater(ended: SavedResponse, reason: unknown): void {
    const { id } = ended
    const cause = HelixError.from(reason).message
    if (this.unkept.size < UNKEPT_MAX) this.unkept.set(id, ended)
    else this.running.delete(id)
    this.options.log.warn('end of a response could not be kept', { response: id, cause })
  }

  private beatLater(): void {
    if (this.cancelBeat || this.stopped) return
    this.cancelBeat = this.options.clock.schedule(BEAT_MS, () => {
      this.cancelBeat = undefined
      void this.beat()
    })
  }

  private async beat(): Promise<void> {
    const { store, log } = this.options
    await this.retry()
    if (this.running.size === 0) return
    this.beatLater()
    try {
      await store.renew([...this.running], LEASE_MS)
    } catch (reason) {
      log.warn('responses in the background could not be renewed', {
        cause: HelixError.from(reason).message,
      })
    }
  }

  private async retry(): Promise<void> {
    for (const [id, ended] of this.unkept) {
      try {
        await this.options.store.update(ended)
        this.unkept.delete(id)
        this.running.delete(id)
      } catch {
        return
      }
    }
  }
}

const NO_RECORD: ResponseRecord = {
  open: async () => {},
  takeOver: () => {},
  drop: async () => {},
  progress: () => {},
  end: async (response) => response,
}

function saved({ identity, input }: ResponseFile, response: ResponseObject): SavedResponse {
  const { output, ...rest } = response
  const isRunning = response.status === 'queued' || response.status === 'in_progress'
  return {
    organisationId: identity.organisationId,
    projectId: identity.projectId,
    actor: identity.actor,
    id: response.id,
    previousId: response.previous_response_id ?? undefined,
    status: response.status,
    // The database's text holds no NUL, and no model has one in its name.
    model: response.model.replaceAll('\0', '\ufffd'),
    background: response.background,
    createdAtMs: response.created_at * 1000,
    input: JSON.stringify(input),
    output: JSON.stringify(output),
    response: JSON.stringify(rest),
    leaseMs: isRunning ? LEASE_MS : undefined,
  }
}

/** A response that was kept, as it is told now. */
export function keptResponse(found: FoundResponse): ResponseObject {
  // Written by `saved`, by this program or an older one.
  const response = { ...JSON.parse(found.response), output: JSON.parse(found.output) } as ResponseObject
  if (!found.abandoned) return response
  const message = 'The server that made this response ended before it was complete.'
  return { ...response, status: 'failed', error: { code: 'server_error', message } }
}
