import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { type Logger, silentLog } from '../core/log.ts'
import { type FootprintKey, Footprints, memoryKindOf } from './footprints.ts'

const MIB = 2 ** 20
const SHAPE = { slots: 4, contextLength: 4_096, chatTemplate: undefined, engine: undefined }
const CARD: FootprintKey = { revision: 'r', shape: SHAPE, kind: 'card' }
const MACHINE: FootprintKey = { ...CARD, kind: 'machine' }
const RECKONED = { memoryBytes: 1_000 * MIB, perDeviceBytes: 100 * MIB }

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hf-footprints-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
})

function open(log: Logger = silentLog): Footprints {
  return new Footprints(join(directory, 'footprints.json'), log)
}

function share(mib: number, deviceId = 'a') {
  return { deviceId, bytes: mib * MIB }
}

describe('what an instance will need', () => {
  test('is the reckoning and a margin before it was measured', () => {
    // On cards 256 MiB, or a twentieth of large ones.
    expect(open().need(CARD, RECKONED).memoryBytes).toBe((1_000 + 256) * MIB)
    const large = open().need(CARD, { ...RECKONED, memoryBytes: 20_000 * MIB })
    expect(large.memoryBytes).toBe(21_000 * MIB)
    expect(open().need(MACHINE, RECKONED).memoryBytes).toBe(1_020 * MIB)
  })

  test('is the most that it took lately, and the more the more that varies', () => {
    const footprints = open()
    footprints.remember(CARD, [share(2_000)], 0)
    expect(footprints.need(CARD, RECKONED).memoryBytes).toBe(2_020 * MIB)
    footprints.remember(CARD, [share(2_100)], 0)
    expect(footprints.need(CARD, RECKONED).memoryBytes).toBe(2_300 * MIB)
    for (let index = 0; index < 5; index++) footprints.remember(CARD, [share(2_100)], 0)
    expect(footprints.need(CARD, RECKONED).memoryBytes).toBe(2_121 * MIB)
  })

  test("of the machine's memory is never less than the reckoning, for not all was touched", () => {
    const footprints = open()
    footprints.remember(MACHINE, [share(300)], 0)
    expect(footprints.need(MACHINE, RECKONED).memoryBytes).toBe(1_020 * MIB)
    footprints.remember(MACHINE, [share(2_000)], 0)
    expect(footprints.need(MACHINE, RECKONED).memoryBytes).toBeGreaterThan(2_000 * MIB)
  })

  test("of the machine's memory does not grow by how little of it was touched at first", () => {
    const footprints = open()
    // Measured when it was ready, and again before it ended.
    for (const mib of [300, 1_100, 300]) footprints.remember(MACHINE, [share(mib)], 0)
    expect(footprints.need(MACHINE, RECKONED).memoryBytes).toBe(1_111 * MIB)
  })

  test('of a split is what one device would have to give', () => {
    const footprints = open()
    footprints.remember(CARD, [share(1_000), share(1_100, 'b'), share(900, 'c')], 500 * MIB)
    expect(footprints.need(CARD, RECKONED).memoryBytes).toBe(2_020 * MIB)
  })

  test('is another for another file, shape or kind of memory', () => {
    const footprints = open()
    footprints.remember(CARD, [share(9_000)], 0)
    for (const other of [{ ...CARD, revision: 's' }, { ...CARD, shape: { ...SHAPE, slots: 8 } }, MACHINE]) {
      expect(footprints.need(other, RECKONED).memoryBytes).toBeLessThan(2_000 * MIB)
    }
  })
})

describe('the file of footprints', () => {
  test('keeps them over a restart, and no draft', async () => {
    const footprints = open()
    for (let index = 0; index < 20; index++)
      footprints.remember({ ...CARD, revision: `${index}` }, [share(2_000)], 0)
    await footprints.settled()
    expect(readdirSync(directory)).toEqual(['footprints.json'])
    expect(open().need({ ...CARD, revision: '7' }, RECKONED).memoryBytes).toBe(2_020 * MIB)
  })

  test.each(['{"a": [1', '[]', '{"a": ["x"]}', '\0'])(
    'begins anew with a warning when it holds %j',
    async (text) => {
      writeFileSync(join(directory, 'footprints.json'), text)
      const warnings: string[] = []
      const footprints = open({ ...silentLog, warn: (event) => warnings.push(event) })
      expect(warnings).toEqual(['the file of footprints is damaged and begins anew'])
      footprints.remember(CARD, [share(2_000)], 0)
      await footprints.settled()
      expect(open().need(CARD, RECKONED).memoryBytes).toBe(2_020 * MIB)
    },
  )

  test('that cannot be written is told and loses nothing of this run', async () => {
    const warnings: string[] = []
    const footprints = new Footprints('/nowhere/at/all', {
      ...silentLog,
      warn: (event) => warnings.push(event),
    })
    footprints.remember(CARD, [share(2_000)], 0)
    await footprints.settled()
    expect(warnings).toEqual(['footprints of models were not kept'])
    expect(footprints.need(CARD, RECKONED).memoryBytes).toBe(2_020 * MIB)
  })
})

test('a share of a card makes it memory of cards', () => {
  expect(memoryKindOf(['cpu', 'cuda'])).toBe('card')
  expect(memoryKindOf(['cpu', 'metal', undefined])).toBe('machine')
})
