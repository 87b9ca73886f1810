import { expect, test } from 'vitest'
import { GatewayBench } from '../support/gateway-bench.ts'
import { rotateUnderLoad } from '../support/key-rotation.ts'

test('a key is rotated again and again under load without one failed request, each dies at its stated second', async () => {
  const bench = await GatewayBench.start()
  try {
    await rotateUnderLoad([bench.server], { rotations: 15, seed: 70 })
  } finally {
    await bench.stop()
  }
  expect(bench.upstream.calls.length).toBeGreaterThan(15 * 500)
})
