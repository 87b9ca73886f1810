import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { welcome } from '../../src/cli/welcome.ts'
import { startServer } from '../support/server.ts'

const run = promisify(execFile)

test('what is printed at the start works when it is pasted', async () => {
  const server = await startServer()
  const folder = mkdtempSync(join(tmpdir(), 'helixflow-paste-'))
  onTestFinished(async () => {
    await server.stop()
    rmSync(folder, { recursive: true })
  })
  const text = welcome({
    url: server.url,
    apiKey: server.apiKey,
    first: { kind: 'ready', model: 'tiny', firstTokenMs: 1 },
    home: server.home,
  })
  // A tiny model of random weights never stops by itself; the example would wait until its context is full.
  const curl = /^ {2}(curl .*)$/m.exec(text)?.[1]?.replace('"messages"', '"max_tokens":5,"messages"') ?? ''
  const { stdout } = await run('sh', ['-c', `${curl} --silent --show-error`])
  expect(JSON.parse(stdout)).toMatchObject({ object: 'chat.completion', model: 'tiny' })

  symlinkSync(join(import.meta.dirname, '..', '..', 'node_modules'), join(folder, 'node_modules'))
  const lines = text.split('\n').slice(text.split('\n').findIndex((line) => line.includes('import OpenAI')))
  const script = lines.join('\n').replace('messages:', 'max_tokens: 5, messages:')
  writeFileSync(join(folder, 'hello.mjs'), script)
  expect((await run(process.execPath, [join(folder, 'hello.mjs')])).stdout.trim().length).toBeGreaterThan(0)
})
