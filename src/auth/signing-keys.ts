import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
} from 'node:crypto'
import type { Clock } from '../core/clock.ts'
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
  /** The longest life of a token: a retired key verifies that long. */
  readonly tokenLifeMs: number
}

interface LoadedKey {
  readonly stored: StoredSigningKey
  readonly publicKey: KeyObject
}

const PURPOSE = 'signing key'

/** An unknown key id in a token makes everybody look again, and not more often than this. */
const RELOAD_PAUSE_MS = 1_000

/** The key pairs (Ed25519) that access tokens are signed and verified with; the same on every process. */
export class SigningKeys {
  private keys: readonly LoadedKey[] = []
  private signing: { readonly id: string; readonly privateKey: KeyObject } | undefined
  private loading: Promise<void> | undefined
  private loadedAtMs = Number.NEGATIVE_INFINITY

  constructor(private readonly parts: SigningKeysParts) {}

  /** The one that signs now; made when there is none yet. */
  async current(): Promise<{ readonly id: string; readonly privateKey: KeyObject }> {
    if (!this.signing) await this.load()
    if (!this.signing) await this.make((newest) => newest === undefined)
    if (this.signing) return this.signing
    return this.current()
  }

  /** The public key of that id; undefined when nobody signs with it any more. */
  async find(id: string): Promise<KeyObject | undefined> {
    const { clock } = this.parts
    const known = this.usable(id)
    if (known || clock.monotonic() - this.loadedAtMs < RELOAD_PAUSE_MS) return known
    await this.load()
    return this.usable(id)
  }

  /** RFC 7517: every key that a valid token may be signed with. */
  async keySet(): Promise<{ readonly keys: readonly object[] }> {
    await this.current()
    const keys = this.keys.filter(({ stored }) => this.isUsable(stored))
    return {
      keys: keys.map(({ stored }) => ({ ...stored.publicJwk, kid: stored.id, alg: 'EdDSA', use: 'sig' })),
    }
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
    return retiredAtMs === undefined || clock.now() < retiredAtMs + tokenLifeMs
  }

  private async make(wanted: (newest: StoredSigningKey | undefined) => boolean): Promise<void> {
    const { database, pepper, clock, tokenLifeMs } = this.parts
    await database.transaction(async (transaction) => {
      await lockSigningKeys(transaction)
      const [newest] = await listSigningKeys(transaction)
      if (!wanted(newest)) return
      const { publicKey, privateKey } = generateKeyPairSync('ed25519')
      const key = {
        id: randomUUID(),
        publicJwk: publicKey.export({ format: 'jwk' }),
        sealedPrivateJwk: seal(
          pepper,
          PURPOSE,
          Buffer.from(JSON.stringify(privateKey.export({ format: 'jwk' }))),
        ),
        createdAtMs: clock.now(),
        retiredAtMs: undefined,
      }
      await replaceSigningKey(transaction, key, clock.now() - tokenLifeMs)
    })
    await this.load()
  }

  private async read(queries: Queries): Promise<void> {
    const { pepper, clock } = this.parts
    const stored = await listSigningKeys(queries)
    this.keys = stored.map((one) => ({
      stored: one,
      publicKey: createPublicKey({ key: one.publicJwk, format: 'jwk' }),
    }))
    const newest = stored.find(({ retiredAtMs }) => retiredAtMs === undefined)
    if (newest && newest.id !== this.signing?.id) {
      const jwk = JSON.parse(open(pepper, PURPOSE, newest.sealedPrivateJwk).toString('utf8'))
      this.signing = { id: newest.id, privateKey: createPrivateKey({ key: jwk, format: 'jwk' }) }
    }
    this.loadedAtMs = clock.monotonic()
  }
}
