import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { findNvidiaCards } from './nvidia-cards.ts'

function driverThat(script: string): string {
  const searchPath = mkdtempSync(join(tmpdir(), 'hf-'))
  onTestFinished(() => rmSync(searchPath, { recursive: true }))
  writeFileSync(join(searchPath, 'nvidia-smi'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return searchPath
}

test('cards are named as their driver names them', async () => {
  const searchPath = driverThat(
    'echo "GPU-1a, NVIDIA H100 80GB HBM3"; echo "GPU-2b, NVIDIA GeForce RTX 4090"; echo',
  )
  expect(await findNvidiaCards({ searchPath })).toEqual([
    { id: 'GPU-1a', kind: 'cuda', name: 'NVIDIA H100 80GB HBM3' },
    { id: 'GPU-2b', kind: 'cuda', name: 'NVIDIA GeForce RTX 4090' },
  ])
})

test('a driver that does not answer has no cards, nor has a machine without one', async () => {
  const searchPath = driverThat('echo "NVIDIA-SMI has failed: GPU-1a, is lost"; exit 9')
  expect(await findNvidiaCards({ searchPath })).toEqual([])
  expect(await findNvidiaCards({ searchPath: '/nonexistent' })).toEqual([])
})
