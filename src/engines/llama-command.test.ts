import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { describeFailure, findCommand, runCommand } from './llama-command.ts'

const sh = (script: string, options = {}) => runCommand('/bin/sh', ['-c', script], options)

describe('a command', () => {
  test('answers with its output and its exit code', async () => {
    const result = await sh('echo out; echo err >&2; exit 3')
    expect(result).toEqual({ code: 3, endedBy: undefined, stdout: 'out\n', stderr: 'err\n' })
    expect(describeFailure(result)).toBe('exit code 3: err')
  })

  test('answers also when it cannot be started', async () => {
    const result = await runCommand('/nonexistent/tool', [])
    expect(result.code).toBeUndefined()
    expect(describeFailure(result)).toContain('ENOENT')
  })

  test('says which signal ended it', async () => {
    expect(describeFailure(await sh('kill -SEGV $$'))).toBe('ended by SIGSEGV')
  })

  test('is ended when it takes too long, with all that it started', async () => {
    const startedMs = performance.now()
    // The pipe of the output closes only when the inner process has ended too.
    expect((await sh('sleep 30; true', { timeoutMs: 100 })).endedBy).toBe('SIGKILL')
    expect((await sh('sleep 30 & exit 4', { timeoutMs: 100 })).code).toBe(4)
    expect(performance.now() - startedMs).toBeLessThan(5_000)
  })

  test('throws the reason when it is aborted', async () => {
    const reason = new DOMException('enough', 'AbortError')
    await expect(sh('sleep 30', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const running = sh('sleep 30; true', { signal: controller.signal })
    controller.abort(reason)
    await expect(running).rejects.toBe(reason)
  })

  test('sees only the variables that it is given, if any are', async () => {
    const { stdout } = await runCommand('/usr/bin/env', [], { environment: { ONLY: 'this' } })
    expect(stdout).toBe('ONLY=this\n')
  })
})

describe('the search path', () => {
  test('leads to the first executable file of the name', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'hf-'))
    onTestFinished(() => rm(directory, { recursive: true, force: true }))
    await writeFile(join(directory, 'plain'), '')
    await writeFile(join(directory, 'tool'), '', { mode: 0o755 })
    const searchPath = `/nonexistent:${directory}`
    expect(await findCommand('tool', searchPath)).toBe(join(directory, 'tool'))
    expect(await findCommand('plain', searchPath)).toBeUndefined()
  })

  test('never leads into the working directory, as an empty entry would', async () => {
    expect(await findCommand('package.json', '')).toBeUndefined()
    expect(await findCommand('bin', ':')).toBeUndefined()
  })
})
