import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { helixflow } from '../../support/helixflow.ts'

test.each([['defrag', '--dry-run'], ['journal']])(
  'pool %s takes the options that stand behind it',
  async (...words) => {
    const home = mkdtempSync(join(tmpdir(), 'helixflow-pool-'))
    onTestFinished(() => rmSync(home, { recursive: true, force: true }))
    const { code, err } = await helixflow({ home }, 'pool', ...words, '--json')
    expect(code).toBe(1)
    // As JSON, by --json; and of that home, where nothing runs.
    expect(JSON.parse(err)).toMatchObject({ error: { code: 'not_running' } })
  },
)
