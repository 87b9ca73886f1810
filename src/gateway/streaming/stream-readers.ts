import type { Identity } from '../../contracts/auth.ts'
import type { HelixError } from '../../core/errors.ts'
import type { CredentialCache } from '../credential-cache.ts'

/** In whose name a stream is read. */
export interface ReadingCaller {
  readonly identity: Identity
  readonly credential: string
}

/** Who reads which stream at this gateway: whoever reads one may have it gone on with. */
export class StreamReaders {
  private readonly callers = new Map<string, Set<ReadingCaller>>()

  constructor(private readonly credentials: Pick<CredentialCache, 'hold'>) {}

  /** Returns what says that they read it no more. */
  begin(id: string, caller: ReadingCaller): () => void {
    const callers = this.callers.get(id) ?? new Set()
    callers.add(caller)
    this.callers.set(id, callers)
    return () => {
      callers.delete(caller)
      if (callers.size === 0 && this.callers.get(id) === callers) this.callers.delete(id)
    }
  }

  /** As `begin`, for a reader who has nothing but this stream: `end` is told when their credential has ended. */
  beginAlone(id: string, caller: ReadingCaller, end: (reason: HelixError) => void): () => void {
    const leave = this.begin(id, caller)
    const release = this.credentials.hold(caller.credential, caller.identity, end)
    return () => {
      release()
      leave()
    }
  }

  /** One of them. */
  of(id: string): ReadingCaller | undefined {
    const [first] = this.callers.get(id) ?? []
    return first
  }
}
