import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { seededRandom } from '../../core/random.ts'
import { PosixCksum } from './posix-cksum.ts'

test('says what the command says, of nothing, of a little and of much in pieces', () => {
  const random = seededRandom(7)
  for (const size of [0, 1, 255, 256, 70_001]) {
    const content = Buffer.from(Array.from({ length: size }, () => Math.floor(random.uniform() * 256)))
    const cksum = new PosixCksum()
    cksum.update(content.subarray(0, 100))
    cksum.update(content.subarray(100))
    const { stdout } = spawnSync('cksum', { input: content, encoding: 'utf8' })
    expect(cksum.digest()).toBe(stdout.trim())
  }
})
