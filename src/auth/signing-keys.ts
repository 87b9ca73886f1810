import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
} from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Database, Queries } from '../storage/database.ts'
import {
  listSigningKeys,
  lockSigningKeys,
  replaceSigningKey,
  type StoredSigningKey,
} from '../storage/signing-keys.ts'
import { open, seal } from './sealed.ts'

export interface SigningKeysParts {
  readonly database: Database
  /** What private keys are sealed with. */
  readonly pepper: Buffer
  readonly clock: Clock
  readonly log: Logger
  /** The longest life of a token: a retired key verifies that long. */
  readonly tokenLifeMs: number
}

interface LoadedKey {
  readonly stored: StoredSigningKey
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

/** Another process may have rotated: whoever signs looks again after this time, and until then signs with the old. */
const SIGNER_RELOAD_MS = 30_000

/** An unknown key id in a token makes everybody look again, and not more often than this. */
const RELOAD_PAUSE_MS = 1_000

/** The key pairs (Ed25519) that access tokens are signed and verified with; the same on every process. */
export class SigningKeys {
  private keys: readonly LoadedKey[] = []
  private loading: Promise<void> | undefined
  private loadedAtMs = Number.NEGATIVE_INFINITY
  private missedAtMs = Number.NEGATIVE_INFINITY

  constructor(private readonly parts: SigningKeysParts) {}

  /** The one that signs now; made when there is none yet. */
  async current(): Promise<{ readonly id: string; readonly privateKey: KeyObject }> {
    if (this.parts.clock.monotonic() - this.loadedAtMs > SIGNER_RELOAD_MS) await this.load()
    if (!this.signer) await this.make((newest) => newest === undefined || newest.retiredAtMs !== undefined)
    if (this.signer) return { id: this.signer.stored.id, privateKey: this.signer.privateKey }
    throw HelixError.from('no key to sign with, although one was just made')
  }

  private get signer(): LoadedKey | undefined {
    return this.keys.find(({ stored }) => stored.retiredAtMs === undefined)
  }

  /** The public key of that id; undefined when nobody signs with it any more. */
  async find(id: string): Promise<KeyObject | undefined> {
    const { clock } = this.parts
    const known = this.usable(id)
    if (known || clock.monotonic() - this.missedAtMs < RELOAD_PAUSE_MS) return known
    this.missedAtMs = clock.monotonic()
    await this.load()
    return this.usable(id)
  }

  /** RFC 7517: every key that a valid token may be signed with. */
  async keySet(): Promise<{ readonly keys: readonly object[] }> {
    await this.current()
    const keys = this.keys.filter(({ stored }) => this.isUsable(stored))
    return { keys: keys.map(toJwk) }
  }

  /** Another key signs from now on. The ones before go on verifying what they signed. */
  rotate(): Promise<void> {
    return this.make(() => true)
  }

  load(): Promise<void> {
    this.loading ??= this.read(this.parts.database).finally(() => {
      this.loading = undefined
    })
    return this.loading
  }

  private usable(id: string): KeyObject | undefined {
    const key = this.keys.find(({ stored }) => stored.id === id)
    return key && this.isUsable(key.stored) ? key.publicKey : undefined
  }

  private isUsable({ retiredAtMs }: StoredSigningKey): boolean {
    const { clock, tokenLifeMs } = this.parts
    return retiredAtMs === undefined || clock.now() < retiredAtMs + tokenLifeMs + SIGNER_RELOAD_MS
  }

  private async make(wanted: (newest: StoredSigningKey | undefined) => boolean): Promise<void> {
    const { database, pepper, clock, tokenLifeMs } = this.parts
    await database.transaction(async (transaction) => {
      await lockSigningKeys(transaction)
      const [newest] = await listSigningKeys(transaction)
      if (!wanted(newest)) return
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const id = randomUUID()
      const privateJwk = Buffer.from(JSON.stringify(privateKey.export({ format: 'jwk' })))
      const key = {
        id,
        publicJwk: publicKey.export({ format: 'jwk' }),
        sealedPrivateJwk: seal(pepper, purposeOf(id), privateJwk),
        createdAtMs: clock.now(),
        retiredAtMs: undefined,
      }
      await replaceSigningKey(transaction, key, clock.now() - tokenLifeMs - SIGNER_RELOAD_MS)
    })
    await this.load()
  }

  private async read(queries: Queries): Promise<void> {
    const stored = await listSigningKeys(queries)
    this.keys = stored.map((one) => this.opened(one)).filter((one) => one !== undefined)
    this.loadedAtMs = this.parts.clock.monotonic()
  }

  /**
   * Both halves come out of what is sealed: whoever can write to the table, and does not have the secret, gains no key
   * that verifies.
   */
  private opened(stored: StoredSigningKey): LoadedKey | undefined {
    const { pepper, log } = this.parts
    try {
      const jwk = JSON.parse(open(pepper, purposeOf(stored.id), stored.sealedPrivateJwk).toString('utf8'))
      const privateKey = createPrivateKey({ key: jwk, format: 'jwk' })
      return { stored, privateKey, publicKey: createPublicKey(privateKey) }
    } catch (reason) {
      log.error('signing key passed over: it was not sealed here', { key: stored.id, cause: String(reason) })
      return undefined
    }
  }
}

function purposeOf(id: string): string {
  return `signing key ${id}`
}

function toJwk({ stored, publicKey }: LoadedKey): object {
  return { ...publicKey.export({ format: 'jwk' }), kid: stored.id, alg: 'EdDSA', use: 'sig' }
}
