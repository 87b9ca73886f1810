import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { stringify } from 'yaml'
import { DatabasePlace } from '../integration/storage/database-place.ts'
import { helixflow } from '../support/helixflow.ts'
import { startServer } from '../support/server.ts'

interface Finding {
  readonly name: string
  readonly level: string
  readonly text: string
}

function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  return home
}

/** A home whose settings name a database of its own, which nobody has used yet. */
async function externalHome(): Promise<{ home: string }> {
  const place = await DatabasePlace.make()
  const postgres = await place.start()
  onTestFinished(async () => {
    await postgres.stop()
    await place.remove()
  })
  const { host, database, user, password } = postgres.connection
  const url = `postgres://${user}:${encodeURIComponent(password)}@localhost/${database}?host=${encodeURIComponent(host)}`
  const home = temporaryHome()
  writeFileSync(join(home, 'test.yaml'), stringify({ database: { driver: 'postgres', url } }))
  return { home }
}

describe('the embedded database', () => {
  test('is examined and asked for its slowest statements through the running server', async () => {
    const server = await startServer()
    onTestFinished(async () => void (await server.stop()))
    const doctor = await helixflow(server, 'db', 'doctor', '--json')
    const findings = JSON.parse(doctor.out) as Finding[]
    expect(findings.filter(({ text }) => text.includes('could not be examined'))).toEqual([])
    expect(findings.find(({ name }) => name === 'schema')).toMatchObject({ level: 'ok' })
    expect(findings.find(({ name }) => name === 'extensions')).toMatchObject({
      level: 'ok',
      text: expect.stringMatching(/pg_stat_statements.*pg_trgm.*btree_gin/),
    })
    expect(doctor.code).toBe(findings.some(({ level }) => level === 'problem') ? 1 : 0)
    expect((await helixflow(server, 'db', 'doctor')).out).toMatch(/^ok +version +PostgreSQL \d+/)
    const larger = await helixflow(server, 'db', 'doctor', '--memory', '512GiB')
    expect(larger.out).toContain('512 GiB')

    const queries = await helixflow(server, 'db', 'queries', '--sort', 'calls', '--limit', '3', '--json')
    const { statements } = JSON.parse(queries.out) as { statements: { calls: number }[] }
    expect(statements).toHaveLength(3)
    expect(statements[0]?.calls).toBeGreaterThan(0)
    expect((await helixflow(server, 'db', 'queries')).out).toMatch(/TOTAL ms +CALLS/)

    const check = await helixflow(server, 'db', 'migrate', '--check', '--json')
    expect([check.code, JSON.parse(check.out)]).toMatchObject([0, { pending: [], foreign: [] }])
  })

  test('that does not run is said to, and wrong usage is told from it', async () => {
    const nowhere = { home: temporaryHome() }
    for (const command of [['doctor'], ['queries'], ['migrate', '--check']]) {
      const { code, err } = await helixflow(nowhere, 'db', ...command)
      expect([code, err]).toEqual([1, expect.stringContaining('not running')])
    }
    for (const wrong of [
      ['queries', '--sort', 'name'],
      ['queries', '--limit', '0'],
      ['doctor', '--memory', 'much'],
    ]) {
      expect((await helixflow(nowhere, 'db', ...wrong)).code, wrong.join(' ')).toBe(2)
    }
    const { code, err } = await helixflow(nowhere, 'db', 'migrate')
    expect([code, err]).toEqual([0, expect.stringContaining('helixflow up')])
  })
})

describe('an external database', () => {
  test('is examined, brought up to date and asked without a server', async () => {
    const here = await externalHome()
    const before = await helixflow(here, 'db', 'migrate', '--check')
    expect([before.code, before.out]).toEqual([1, expect.stringContaining('pending  0001-accounts.sql')])
    const sick = await helixflow(here, 'db', 'doctor')
    expect([sick.code, sick.out]).toEqual([1, expect.stringMatching(/FAIL +schema.*0001-accounts\.sql/)])
    expect(sick.out).toContain('--memory')

    expect((await helixflow(here, 'db', 'migrate')).code).toBe(0)
    expect((await helixflow(here, 'db', 'migrate', '--check')).code).toBe(0)
    const well = await helixflow(here, 'db', 'doctor', '--memory', '64GiB')
    expect(well.out).toMatch(/ok +schema/)
    const queries = await helixflow(here, 'db', 'queries')
    expect([queries.code, queries.out]).toEqual([0, expect.stringMatching(/select|create/i)])
  })

  test('that cannot be reached is one clear line', async () => {
    const home = temporaryHome()
    const url = 'postgres://helixflow:secret@127.0.0.1:9/helixflow'
    writeFileSync(join(home, 'test.yaml'), stringify({ database: { driver: 'postgres', url } }))
    const { code, err } = await helixflow({ home }, 'db', 'doctor')
    expect(code).toBe(1)
    expect(err.trim().split('\n').at(-1)).toMatch(/^helixflow: .*database/i)
    expect(err).not.toContain('secret')
  })
})
