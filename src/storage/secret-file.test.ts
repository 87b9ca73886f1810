import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readOrCreateSecret, readSecret } from './secret-file.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'helixflow-secret-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('everybody who asks at the same time gets the one secret, in a file for its owner alone', async () => {
  const path = join(directory, 'made', 'secret')
  const secrets = await Promise.all(Array.from({ length: 20 }, () => readOrCreateSecret(path)))
  expect(new Set(secrets).size).toBe(1)
  expect(secrets[0]).toMatch(/^[0-9a-f]{64}$/)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await readdir(join(directory, 'made'))).toEqual(['secret'])
  await expect(readOrCreateSecret(path)).resolves.toBe(secrets[0])
})

test('a missing file is not made by reading', async () => {
  await expect(readSecret(join(directory, 'secret'))).resolves.toBeUndefined()
  expect(await readdir(directory)).toEqual([])
})

test('a damaged file is named and kept', async () => {
  const path = join(directory, 'secret')
  await writeFile(path, 'half a sec')
  await expect(readOrCreateSecret(path)).rejects.toMatchObject({
    code: 'invalid_configuration',
    message: expect.stringContaining(path),
  })
  await expect(readSecret(directory)).rejects.toMatchObject({ code: 'invalid_configuration' })
})
