import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { helixflow } from '../support/helixflow.ts'
import { type Server, startServer } from '../support/server.ts'

async function start(home: string): Promise<Server> {
  // Keys need no model.
  const server = await startServer({ home, models: {}, model: null })
  onTestFinished(async () => void (await server.stop()))
  return server
}

function models(server: Server, apiKey: string): Promise<Response> {
  return fetch(`${server.url}/models`, { headers: { authorization: `Bearer ${apiKey}` } })
}

test('keys come back as they were at a moment: made after the backup, revoked after the moment', async () => {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  let server = await start(home)
  const { apiKey } = server

  const created = await helixflow(server, 'backup', 'create', '--json')
  expect(created).toMatchObject({ code: 0 })
  const { id } = JSON.parse(created.out) as { id: string }
  const key = JSON.parse((await helixflow(server, 'keys', 'create', 'later', '--json')).out) as {
    id: string
    plaintext: string
  }
  await sleep(5)
  const moment = new Date().toISOString()
  await sleep(5)
  expect((await helixflow(server, 'keys', 'revoke', key.id)).code).toBe(0)

  const listed = await helixflow(server, 'backup', 'list')
  expect(listed.out).toMatch(new RegExp(`${id} .* yes +whole`))
  const refused = await helixflow(server, 'backup', 'restore', id, '--to-time', moment)
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('HelixFlow is running. Stop it') })
  const verified = await helixflow(server, 'backup', 'verify', id)
  expect(verified).toMatchObject({ code: 0, out: expect.stringContaining('every row is as it was') })
  expect((await models(server, key.plaintext)).status).toBe(401)
  await server.stop()

  const wrong = await helixflow(server, 'backup', 'restore', id, '--to-time', 'yesterday')
  expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('is not a time') })
  const missing = await helixflow(server, 'backup', 'verify', '20260101T000000Z-0000')
  expect(missing).toMatchObject({ code: 1, err: expect.stringContaining('There is no backup') })
  const restored = await helixflow(server, 'backup', 'restore', id, '--to-time', moment)
  expect(restored).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^restored .*\nkept: .*before-restore/),
  })

  server = await start(home)
  expect((await models(server, key.plaintext)).status).toBe(200)
  expect((await models(server, apiKey)).status).toBe(200)
})

test('how old the newest backup is stands in the metrics, and that one was found to be of no use', async () => {
  const server = await start(mkdtempSync(join(tmpdir(), 'helixflow-test-')))
  onTestFinished(() => rmSync(server.home, { recursive: true, force: true }))
  const metric = async (name: string) => {
    const text = await (await fetch(server.metricsUrl)).text()
    return Number(new RegExp(`^helixflow_backup_${name} (.*)$`, 'm').exec(text)?.[1])
  }
  expect(await metric('last_success_timestamp_seconds')).toBe(0)
  expect(await metric('expected_interval_seconds')).toBeGreaterThanOrEqual(0)
  const startedSeconds = Date.now() / 1_000
  const { id } = JSON.parse((await helixflow(server, 'backup', 'create', '--json')).out) as { id: string }
  // By the clock of the database, which rounds otherwise.
  expect(await metric('last_success_timestamp_seconds')).toBeGreaterThan(startedSeconds - 1)
  expect(await metric('failures_total')).toBe(0)

  const folder = join(server.home, 'backups', id)
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  const largest = files
    .filter((path) => statSync(path).isFile())
    .sort((one, other) => statSync(other).size - statSync(one).size)[0]
  truncateSync(largest ?? '', 10)
  expect((await helixflow(server, 'backup', 'verify', id)).code).toBe(1)
  expect(await metric('failures_total')).toBe(1)
})
