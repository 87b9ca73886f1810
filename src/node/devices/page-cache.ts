import { constants, type Stats } from 'node:fs'
import { access, open } from 'node:fs/promises'
import type { Clock } from '../../core/clock.ts'

/** The largest page that a system is built with: places that are multiples of it are pages on all of them. */
const STEP_BYTES = 65_536
/** Single pages all over the file, instead of a bit for each of its millions: half a millisecond for any size. */
const SAMPLES = 256
const SHARE_CACHED = 0.9
const KEPT_MS = 5_000
const PROT_READ = 1
const MAP_SHARED = 1

/**
 * Whether files lie in the system's page cache, so that reading them costs no disk. Linux only, by `mincore`; elsewhere,
 * and where the binding for it is missing, no file does.
 */
export class PageCache {
  private readonly known = new Map<string, { readonly isCached: Promise<boolean>; readonly atMs: number }>()
  private system: Promise<MemorySystem | undefined> | undefined

  constructor(private readonly clock: Clock) {}

  /** As it was within the last seconds. */
  holds(path: string): Promise<boolean> {
    const nowMs = this.clock.monotonic()
    const known = this.known.get(path)
    if (known && nowMs - known.atMs < KEPT_MS) return known.isCached
    const isCached = this.look(path).catch(() => false)
    this.known.set(path, { isCached, atMs: nowMs })
    return isCached
  }

  /** The next question is answered anew. */
  forget(path: string): void {
    this.known.delete(path)
  }

  private async look(path: string): Promise<boolean> {
    this.system ??= MemorySystem.open()
    const system = await this.system
    if (!system) return false
    const file = await open(path)
    try {
      const stat = await file.stat()
      // Of files that we could not write, Linux says that every page is there: what others read is no business of ours.
      if (stat.size === 0 || !(await mayKnow(path, stat))) return false
      return system.shareInMemory(file.fd, stat.size) >= SHARE_CACHED
    } finally {
      await file.close()
    }
  }
}

async function mayKnow(path: string, { uid }: Stats): Promise<boolean> {
  if (uid === process.getuid?.()) return true
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  )
}

type Call = (...values: (number | bigint | Buffer | null)[]) => unknown

/** The three calls of the C library; none of them reads the file or waits for a disk. */
class MemorySystem {
  private constructor(
    private readonly map: Call,
    private readonly unmap: Call,
    private readonly inCore: Call,
  ) {}

  static async open(): Promise<MemorySystem | undefined> {
    if (process.platform !== 'linux') return undefined
    try {
      const { default: koffi } = await import('koffi')
      // What this process is already linked to, whichever C library that is.
      const library = koffi.load(null)
      return new MemorySystem(
        library.func(
          'uintptr_t mmap(uintptr_t address, size_t length, int p, int flags, int fd, int64_t offset)',
        ),
        library.func('int munmap(uintptr_t address, size_t length)'),
        library.func('int mincore(uintptr_t address, size_t length, void *pages)'),
      )
    } catch {
      return undefined
    }
  }

  shareInMemory(fileDescriptor: number, sizeBytes: number): number {
    const address = BigInt(
      this.map(0, sizeBytes, PROT_READ, MAP_SHARED, fileDescriptor, 0) as number | bigint,
    )
    if (address === MAP_FAILED) return 0
    const steps = Math.ceil(sizeBytes / STEP_BYTES)
    const samples = Math.min(SAMPLES, steps)
    const page = Buffer.alloc(1)
    let there = 0
    for (let index = 0; index < samples; index++) {
      const at = BigInt(Math.floor((index * (steps - 1)) / Math.max(1, samples - 1))) * BigInt(STEP_BYTES)
      if (this.inCore(address + at, 1, page) === 0 && ((page[0] ?? 0) & 1) === 1) there++
    }
    this.unmap(address, sizeBytes)
    return there / samples
  }
}

const MAP_FAILED = 0xffff_ffff_ffff_ffffn
