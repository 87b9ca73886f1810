import { readFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import type { DeviceKind, DeviceShare, InstanceShape, MemoryNeed } from '../contracts/node.ts'
import type { Logger } from '../core/log.ts'

/** Of the kinds of devices, what matters for memory: a card's is taken at once, the machine's when it is touched. */
export type MemoryKind = 'card' | 'machine'

export interface FootprintKey {
  /** Of the model's file. */
  readonly revision: string
  readonly shape: InstanceShape
  readonly kind: MemoryKind
}

const MIB = 2 ** 20
const REMEMBERED_PER_KEY = 5
const KEYS_MAX = 1_000
/** Of a reckoning that nobody has measured yet; on cards at least this much, for what the driver's libraries take. */
const MARGIN_SHARE_CARD = 0.05
const MARGIN_CARD_BYTES = 256 * MIB
const MARGIN_SHARE_MACHINE = 0.02
/** Of what was measured: it varies by less, and by how much is seen. */
const MEASURED_MARGIN_SHARE = 0.01
const SPREAD_FACTOR = 2

const Remembered = z.record(z.string(), z.array(z.number().nonnegative()).max(REMEMBERED_PER_KEY))

/**
 * What instances really took, by the model's revision, shape and kind of memory, kept over restarts in one file. The file
 * is a memory aid: without it the engine's own reckoning stands.
 */
export class Footprints {
  private readonly taken: Map<string, readonly number[]>
  private writing: Promise<void> = Promise.resolve()

  constructor(
    private readonly path: string,
    private readonly log: Logger,
  ) {
    this.taken = new Map(Object.entries(readRemembered(path, log)))
  }

  /** What the instance will need, and a margin: of what was measured if it was, else of the reckoning. */
  need(key: FootprintKey, reckoned: MemoryNeed): MemoryNeed {
    const taken = this.taken.get(textOf(key))
    if (key.kind === 'machine') {
      // Readings differ by how much was touched yet, which tells nothing of how much there will be.
      const most = Math.max(0, ...(taken ?? [])) * (1 + MEASURED_MARGIN_SHARE)
      const bytes = Math.max(reckoned.memoryBytes * (1 + MARGIN_SHARE_MACHINE), most)
      return { ...reckoned, memoryBytes: Math.ceil(bytes) }
    }
    const { memoryBytes } = reckoned
    const bytes = taken
      ? withMargin(taken)
      : memoryBytes + Math.max(MARGIN_SHARE_CARD * memoryBytes, MARGIN_CARD_BYTES)
    return { ...reckoned, memoryBytes: Math.ceil(bytes) }
  }

  /** Remembers what it took of all its devices together. @param perDeviceBytes what each of them took whole */
  remember(key: FootprintKey, shares: readonly DeviceShare[], perDeviceBytes: number): void {
    const bytes = shares.reduce((sum, share) => sum + share.bytes, 0) - (shares.length - 1) * perDeviceBytes
    if (shares.length === 0 || bytes <= 0) return
    const text = textOf(key)
    const taken = [...(this.taken.get(text) ?? []), bytes].slice(-REMEMBERED_PER_KEY)
    // The one that was used last stands last, so that the oldest goes first.
    this.taken.delete(text)
    this.taken.set(text, taken)
    for (const oldest of this.taken.keys()) {
      if (this.taken.size <= KEYS_MAX) break
      this.taken.delete(oldest)
    }
    this.writing = this.writing.then(() => this.write())
  }

  /** Resolves when what was remembered so far is in the file. */
  settled(): Promise<void> {
    return this.writing
  }

  private async write(): Promise<void> {
    const draft = `${this.path}.${process.pid}`
    try {
      await writeFile(draft, JSON.stringify(Object.fromEntries(this.taken)), { mode: 0o600 })
      await rename(draft, this.path)
    } catch (reason) {
      this.log.warn('footprints of models were not kept', { path: this.path, cause: String(reason) })
    }
  }
}

/** What kind of memory shares of such devices are. */
export function memoryKindOf(kinds: readonly (DeviceKind | undefined)[]): MemoryKind {
  return kinds.some((kind) => kind === 'cuda' || kind === 'rocm') ? 'card' : 'machine'
}

function withMargin(taken: readonly number[]): number {
  const most = Math.max(...taken)
  return most + Math.max(MEASURED_MARGIN_SHARE * most, SPREAD_FACTOR * (most - Math.min(...taken)))
}

function textOf({ revision, shape, kind }: FootprintKey): string {
  return JSON.stringify([revision, kind, shape.slots, shape.contextLength, shape.engine ?? null])
}

function readRemembered(path: string, log: Logger): Readonly<Record<string, readonly number[]>> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return {}
  }
  try {
    return Remembered.parse(JSON.parse(text))
  } catch {
    log.warn('the file of footprints is damaged and begins anew', { path })
    return {}
  }
}
