import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { UsageRecord, UsageSink } from '../../../src/contracts/usage.ts'
import { type Clock, ManualClock } from '../../../src/core/clock.ts'
import { HelixError } from '../../../src/core/errors.ts'
import { type Logger, silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { UsageDelivery } from '../../../src/gateway/usage/delivery.ts'
import { Spool } from '../../../src/gateway/usage/spool.ts'
import { SILENCE_MAX_MS, spoolFolderName } from '../../../src/gateway/usage/spool-owner.ts'
import { encodeRecord, RECORD_BYTES_MAX } from '../../../src/gateway/usage/spool-record.ts'
import { systemClock } from '../../../src/system.ts'
import { mountSmallDisk, noSmallDisk } from '../../support/small-disk.ts'
import { usageRecord } from '../../support/usage-records.ts'

const RESERVED = 1_024

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'helixflow-spool-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function open({
  bytesMax = 2 ** 26,
  token = 'one',
  clock = systemClock as Clock,
  log = silentLog as Logger,
  at = directory,
} = {}): Spool {
  return new Spool({ directory: at, bytesMax, token, clock, log })
}

function append(spool: Spool, ...numbers: number[]): void {
  for (const number of numbers) {
    expect(spool.reserve(RESERVED)).toBe(true)
    spool.append(usageRecord(number), RESERVED)
  }
}

async function takeAll(spool: Spool): Promise<UsageRecord[]> {
  const taken: UsageRecord[] = []
  for (let batch = await spool.next(4_096); batch; batch = await spool.next(4_096)) {
    taken.push(...batch.records)
    batch.delivered()
  }
  return taken
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at)
}

/** A child that appends until so many numbers were said, then is killed. Resolves with what it said. */
async function appendAndKill(first: number, count: number): Promise<number[]> {
  const script = fileURLToPath(new URL('append-usage.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', 'tsx', script, directory, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    if (text.split('\n').length > count) child.kill('SIGKILL')
  })
  const [, signal] = await exited
  expect(signal).toBe('SIGKILL')
  // The last line may have been cut.
  return text.split('\n').slice(0, -1).map(Number)
}

describe('records', () => {
  test('come back as they were, oldest first, in any number of segments', async () => {
    const spool = open()
    append(spool, ...range(0, 5_000))
    expect(await takeAll(spool)).toEqual(range(0, 5_000).map((number) => usageRecord(number)))
    expect(await spool.next(4_096)).toBeUndefined()
    append(spool, 5_000)
    expect(await takeAll(spool)).toEqual([usageRecord(5_000)])
    spool.close()
    expect(readdirSync(directory), 'an empty spool leaves nothing').toEqual([])
  })

  test('that were not confirmed come again', async () => {
    const spool = open()
    append(spool, 1, 2)
    expect((await spool.next(4_096))?.records).toHaveLength(2)
    expect(await takeAll(spool)).toHaveLength(2)
    spool.close()
  })

  test('survive kill -9 at any point: every one that was appended, each once, and no other', async () => {
    const random = seededRandom(11)
    const said: number[] = []
    for (let round = 0; round < 20; round++) {
      said.push(...(await appendAndKill(round * 1_000_000, Math.ceil(random.uniform() ** 2 * 8_000))))
    }
    const spool = open()
    spool.adopt()
    const found = (await takeAll(spool)).map(({ requestId }) => Number(requestId.slice(4)))
    spool.close()
    const foundOnce = new Set(found)
    expect(found.length).toBe(foundOnce.size)
    expect(said.filter((number) => !foundOnce.has(number))).toEqual([])
    expect(readdirSync(directory)).toEqual([])
  }, 120_000)
})

describe('what another process left', () => {
  /** The segments of a child that is gone, as one file. */
  async function leftBehind(): Promise<{ path: string; said: number[] }> {
    const said = await appendAndKill(0, 30)
    const [folder = ''] = readdirSync(directory)
    return { path: join(directory, folder, '00000001.segment'), said }
  }

  async function adopted(log: Logger = silentLog): Promise<number[]> {
    const spool = open({ log })
    spool.adopt()
    const found = (await takeAll(spool)).map(({ requestId }) => Number(requestId.slice(4)))
    spool.close()
    return found
  }

  test('torn at any byte, all whole records before the tear are kept, and the tear is told', async () => {
    const { path, said } = await leftBehind()
    const bytes = await readFile(path)
    const lines = bytes.subarray(0, bytes.indexOf(0)).toString('latin1').split('\n')
    const lengths = lines.map((line) => line.length + 1)
    const folder = join(path, '..')
    const random = seededRandom(5)
    expect(said.length).toBeGreaterThanOrEqual(30)
    for (let round = 0; round < 40; round++) {
      const tear = Math.floor(random.uniform() * bytes.indexOf(0))
      const torn = Buffer.alloc(bytes.length)
      bytes.copy(torn, 0, 0, tear)
      mkdirAgain(folder)
      await writeFile(path, torn)
      let whole = 0
      let sum = 0
      while (sum + (lengths[whole] ?? 0) - 1 < tear) sum += lengths[whole++] ?? 0
      // A record without its newline is whole: its checksum says so.
      if (sum + (lengths[whole] ?? 0) - 1 === tear) whole += 1
      const warnings: unknown[] = []
      const found = await adopted({ ...silentLog, warn: (_, fields) => warnings.push(fields) })
      expect(found).toEqual(range(0, whole))
      const isCut = tear > lengths.slice(0, whole).reduce((all, one) => all + one, 0)
      expect(warnings).toHaveLength(isCut ? 1 : 0)
    }
  })

  test('with bytes that a disk turned over, all other records are kept', async () => {
    const { path } = await leftBehind()
    const bytes = await readFile(path)
    const damage = bytes.indexOf('"model"', 2_000)
    bytes[damage + 1] = 0x58
    await writeFile(path, bytes)
    const found = await adopted()
    const lost = bytes.subarray(0, damage).toString('latin1').split('\n').length - 1
    expect(found).toEqual(range(0, found.length + 1).filter((number) => number !== lost))
  })

  test('is left alone while that process lives', async () => {
    const living = open({ token: 'living' })
    append(living, 1)
    expect(await adopted()).toEqual([])
    expect(await takeAll(living)).toHaveLength(1)
    living.close()
  })

  test('on another machine is taken over after a minute of silence, not of a clock set otherwise', async () => {
    const name = spoolFolderName('x').replace(/^gateway-[0-9a-f]{8}/, 'gateway-00000000')
    const folder = join(directory, name)
    mkdirAgain(folder)
    writeFileSync(join(folder, '00000001.segment'), encodeRecord(usageRecord(3)))
    utimesSync(folder, new Date(0), new Date(0))
    const clock = new ManualClock()
    const spool = open({ clock })
    const look = async (afterMs: number) => {
      clock.advance(afterMs)
      spool.adopt()
      return (await takeAll(spool)).length
    }
    expect(await look(0)).toBe(0)
    expect(await look(SILENCE_MAX_MS - 1)).toBe(0)
    utimesSync(folder, new Date(1_000), new Date(1_000))
    expect(await look(SILENCE_MAX_MS)).toBe(0)
    expect(await look(SILENCE_MAX_MS + 1)).toBe(1)
    spool.close()
    expect(readdirSync(directory)).toEqual([])
  })

  test('goes on in a folder of its own when it turns out to live', async () => {
    const spool = open()
    append(spool, 1)
    rmSync(directory, { recursive: true })
    spool.adopt()
    append(spool, 2)
    expect((await takeAll(spool)).map(({ requestId }) => requestId)).toEqual([usageRecord(2).requestId])
    spool.close()
  })
})

describe('a full spool', () => {
  test('refuses new reservations, keeps those it gave, and has room again once records were delivered', async () => {
    const bytesMax = 2 ** 20
    const clock = new ManualClock()
    const spool = open({ bytesMax, clock })
    let reserved = 0
    while (spool.reserve(RESERVED)) reserved += 1
    expect(reserved).toBeGreaterThan(700)
    expect(spool.problem()).toMatchObject({ code: 'storage_unavailable', status: 503 })
    const [folder = ''] = readdirSync(directory)
    const sizes = readdirSync(join(directory, folder)).map(
      (file) => statSync(join(directory, folder, file)).size,
    )
    expect(sizes.reduce((sum, one) => sum + one, 0)).toBeLessThanOrEqual(bytesMax)
    for (let number = 0; number < reserved; number++) spool.append(usageRecord(number), RESERVED)
    while (spool.reserve(RESERVED)) spool.append(usageRecord(reserved++), RESERVED)
    expect(await takeAll(spool)).toHaveLength(reserved)
    expect(spool.problem()).toBeUndefined()
    expect(spool.reserve(RESERVED)).toBe(true)
    spool.close()
  })

  test.skipIf(noSmallDisk !== undefined)(
    'on a full disk does the same, and what was reserved still goes in',
    async () => {
      const disk = mountSmallDisk('8m')
      onTestFinished(() => disk.unmount())
      const clock = new ManualClock()
      const spool = open({ clock, at: join(disk.path, 'spool') })
      const ballast = join(disk.path, 'ballast')
      expect(spool.reserve(RESERVED)).toBe(true)
      writeFileSync(ballast, Buffer.alloc(2 ** 20))
      fill(ballast)
      let reserved = 1
      while (spool.reserve(RESERVED)) reserved += 1
      expect(spool.problem()).toMatchObject({ code: 'storage_unavailable' })
      for (let number = 0; number < reserved; number++) spool.append(usageRecord(number), RESERVED)
      expect(await takeAll(spool)).toHaveLength(reserved)
      truncateSync(ballast, 0)
      clock.advance(1_000)
      expect(spool.problem()).toBeUndefined()
      spool.close()
    },
  )

  test('a record of the longest texts fits into what is reserved for it, and one that does not is refused', () => {
    expect(() => encodeRecord(usageRecord(1, { user: '\u{1f600}'.repeat(RECORD_BYTES_MAX) }))).toThrow(
      HelixError,
    )
    expect(() => encodeRecord(usageRecord(1, { user: 'x'.repeat(RECORD_BYTES_MAX) }))).toThrow(HelixError)
  })
})

describe('delivery', () => {
  /** A sink that a test can close and that refuses some records, as the table does. */
  class TestSink implements UsageSink {
    readonly kept = new Map<string, UsageRecord>()
    open = true
    calls = 0

    constructor(private readonly refuses: (record: UsageRecord) => boolean = () => false) {}

    async record(batch: readonly UsageRecord[]): Promise<void> {
      this.calls += 1
      if (!this.open) throw new HelixError('storage_unavailable', 'away')
      if (batch.some(this.refuses)) throw new HelixError('invalid_value', 'wrong')
      for (const record of batch) this.kept.set(record.requestId, record)
    }
  }

  test('waits out a sink that is away, then delivers everything', async () => {
    const spool = open()
    const sink = new TestSink()
    sink.open = false
    const delivery = new UsageDelivery({ spool, sink, clock: systemClock, log: silentLog })
    append(spool, ...range(0, 2_000))
    delivery.notify()
    await expect.poll(() => sink.calls, { timeout: 10_000 }).toBeGreaterThan(2)
    sink.open = true
    await expect.poll(() => sink.kept.size, { timeout: 10_000 }).toBe(2_000)
    await delivery.stop()
    expect(readdirSync(directory)).toEqual([])
  })

  test('sets one record aside that can never be kept, with its content in the log, and delivers the others', async () => {
    const spool = open()
    const sink = new TestSink(({ completionTokens }) => completionTokens === 77)
    const errors: unknown[] = []
    const log = { ...silentLog, error: (_: string, fields: unknown) => errors.push(fields) }
    const delivery = new UsageDelivery({
      spool,
      sink,
      clock: systemClock,
      log: { ...log, with: () => silentLog },
    })
    append(spool, ...range(0, 100))
    delivery.notify()
    await delivery.stop()
    expect(sink.kept.size).toBe(99)
    expect(errors).toEqual([expect.objectContaining({ record: usageRecord(77) })])
  })

  test('a stop while the sink is away leaves the records for the next process', async () => {
    const spool = open()
    const sink = new TestSink()
    sink.open = false
    const delivery = new UsageDelivery({ spool, sink, clock: systemClock, log: silentLog })
    append(spool, ...range(0, 10))
    delivery.notify()
    await delivery.stop()
    const [folder = ''] = readdirSync(directory)
    expect(readdirSync(join(directory, folder))).toHaveLength(1)
  })
})

function mkdirAgain(folder: string): void {
  mkdirSync(folder, { recursive: true })
}

/** Writes to the file until its disk has no room. */
function fill(path: string): void {
  const block = Buffer.alloc(4_096)
  try {
    for (;;) appendFileSync(path, block)
  } catch (reason) {
    expect((reason as NodeJS.ErrnoException).code).toBe('ENOSPC')
  }
}
