import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import type { CredentialCache } from '../credential-cache.ts'
import { addressProblem } from '../hooks/authenticate.ts'
import { CLOSE, type CloseCode, endOfCredential } from './close-codes.ts'

export interface SocketCallerParts {
  readonly credentials: CredentialCache
  readonly clock: Clock
  readonly address: string
  /** The credential has ended, and with it the connection. */
  end(code: CloseCode, reason: string): void
  expiring(inMs: number): void
}

const EXPIRY_NOTICE_MS = 60_000

/** Who speaks on a connection, for as long as it lives: rights are asked for at every request, as over HTTP. */
export class SocketCaller {
  private release: () => void
  private isTold = false
  private isStopped = false

  constructor(
    private readonly parts: SocketCallerParts,
    public credential: string,
    private known: Identity,
  ) {
    this.release = this.hold()
  }

  /** As last seen. */
  get identity(): Identity {
    return this.known
  }

  /** @throws HelixError as `CredentialCache.identify` */
  identify(): Identity | Promise<Identity> {
    return this.parts.credentials.identify(this.credential)
  }

  /**
   * Goes on with another credential of the same party.
   * @throws HelixError `insufficient_permissions` when it is somebody else's, and as `identify`
   */
  async refresh(credential: string): Promise<void> {
    const identity = await this.parts.credentials.identify(credential)
    const { actor, organisationId, projectId } = this.known
    if (
      identity.actor !== actor ||
      identity.organisationId !== organisationId ||
      identity.projectId !== projectId
    )
      throw new HelixError('insufficient_permissions', 'The token is not of the same subject.')
    const problem = addressProblem(identity, this.parts.address)
    if (problem) throw problem
    if (this.isStopped) return
    this.release()
    this.credential = credential
    this.known = identity
    this.isTold = false
    this.release = this.hold()
  }

  tick(): void {
    const { expiresAtMs } = this.known
    if (expiresAtMs === undefined) return
    const inMs = expiresAtMs - this.parts.clock.now()
    if (inMs <= 0) this.parts.end(CLOSE.expired, 'token_expired')
    else if (inMs <= EXPIRY_NOTICE_MS && !this.isTold) {
      this.isTold = true
      this.parts.expiring(Math.round(inMs))
    }
  }

  stop(): void {
    this.isStopped = true
    this.release()
  }

  private hold(): () => void {
    return this.parts.credentials.hold(this.credential, this.known, (error) =>
      this.parts.end(endOfCredential(error), error.code),
    )
  }
}
