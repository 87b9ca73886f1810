import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ScriptedGateway } from '../../support/scripted-gateway.ts'

const program = join(import.meta.dirname, '..', '..', '..', 'bin', 'helixflow.js')

test('whoever reads only the beginning of an answer ends it, and no error comes of it', async () => {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-chat-'))
  // More than a pipe takes.
  const gateway = await ScriptedGateway.start({ pieces: () => Array.from({ length: 40_000 }, () => 'word ') })
  const words = ['chat', 'm', '--url', gateway.url, '--key', 'k', '-m', 'Hello', '--home', home]
  const child = spawn(process.execPath, [program, ...words], { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = once(child, 'exit')
  let complaint = ''
  child.stderr.on('data', (text) => {
    complaint += text
  })
  await once(child.stdout, 'data')
  child.stdout.destroy()
  expect(await exited).toEqual([0, null])
  expect(complaint).toBe('')
  expect([...gateway.streams.values()].map(({ cancelled }) => cancelled)).toEqual([true])
  await gateway.stop()
  rmSync(home, { recursive: true })
})
