import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { memoryPressure } from './memory-pressure.ts'

test('memory pressure is a share, and unknown where the kernel does not say it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'hf-pressure-'))
  try {
    const path = join(directory, 'memory')
    writeFileSync(
      path,
      'some avg10=12.50 avg60=1.00 avg300=0.00 total=7\nfull avg10=99.00 avg60=0 avg300=0 total=1\n',
    )
    expect(memoryPressure(path)).toBe(0.125)
    writeFileSync(path, 'something else\n')
    expect(memoryPressure(path)).toBeUndefined()
    expect(memoryPressure(join(directory, 'missing'))).toBeUndefined()
  } finally {
    rmSync(directory, { recursive: true })
  }
})
