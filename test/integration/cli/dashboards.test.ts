import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { testDirectory } from '../../support/engine.ts'
import { helixflow } from '../../support/helixflow.ts'

const deploy = join(import.meta.dirname, '..', '..', '..', 'deploy')

test('an export holds what lies in deploy, and writes over nothing unless it is told to', async () => {
  const home = await testDirectory()
  const to = join(home, 'monitoring')
  const first = await helixflow({ home }, 'dashboards', 'export', '--to', to, '--json')
  const { files } = JSON.parse(first.out) as { files: string[] }
  expect(files.length).toBeGreaterThan(8)
  const names = readdirSync(join(deploy, 'grafana', 'dashboards'))
  expect(readdirSync(join(to, 'grafana', 'dashboards'))).toEqual(names)
  for (const file of files) {
    expect(readFileSync(file, 'utf8')).toBe(readFileSync(join(deploy, file.slice(to.length)), 'utf8'))
  }
  const [one = ''] = files
  writeFileSync(one, 'mine')
  const refused = await helixflow({ home }, 'dashboards', 'export', '--to', to)
  expect(refused.code).toBe(1)
  expect(refused.err).toContain('--force')
  expect(readFileSync(one, 'utf8')).toBe('mine')
  expect((await helixflow({ home }, 'dashboards', 'export', '--to', to, '--force')).code).toBe(0)
  expect(readFileSync(one, 'utf8')).not.toBe('mine')
})

test('runbooks are linked where the one who exports has them', async () => {
  const home = await testDirectory()
  const to = join(home, 'monitoring')
  const address = 'https://wiki.example/helixflow'
  await helixflow({ home }, 'dashboards', 'export', '--to', to, '--runbooks', `${address}/`)
  const { templating } = JSON.parse(
    readFileSync(join(to, 'grafana', 'dashboards', 'helixflow-overview.json'), 'utf8'),
  )
  expect(templating.list.find(({ name }: { name: string }) => name === 'runbooks')).toMatchObject({
    query: address,
    current: { value: address },
  })
})
