import { defineConfig } from 'vitest/config'

/**
 * Files that measure what the machine gives them, or fill it: nothing runs beside them.
 * All others must stand another file beside them (CONTRIBUTING.md).
 */
const ALONE: readonly string[] = [
  'test/e2e/apart.test.ts',
  'test/e2e/full-disk.test.ts',
  'test/e2e/key-rotation.test.ts',
  'test/e2e/nodes-apart.test.ts',
  'test/integration/gateway/bad-connections.test.ts',
  'test/integration/gateway/bad-input.test.ts',
  'test/integration/gateway/endless-answers.test.ts',
  'test/integration/gateway/engine-answers.test.ts',
  'test/integration/limits/several-gateways.test.ts',
  'test/integration/storage/crash.test.ts',
]

/** Most files wait for processes of their own; more than two at once would wait for each other. */
const BESIDE = { maxWorkers: 2, sequence: { groupOrder: 1 } }

const SERVERS = {
  globalSetup: 'test/support/prepare.ts',
  // How soon something must come, the test that promises it says; the machine may be busy.
  expect: { poll: { timeout: 10_000 } },
}

export default defineConfig({
  test: {
    reporters: ['default', './test/support/closing-line-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'dashboards/**/*.test.ts', 'test/architecture/**/*.test.ts'],
          maxWorkers: '100%',
          // Seconds of computing take their time beside others; how soon something must come, its test says.
          testTimeout: 30_000,
        },
      },
      {
        test: {
          ...SERVERS,
          ...BESIDE,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: [...ALONE],
          testTimeout: 60_000,
          hookTimeout: 300_000,
        },
      },
      {
        test: {
          ...SERVERS,
          ...BESIDE,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: [...ALONE],
          testTimeout: 180_000,
          hookTimeout: 900_000,
        },
      },
      {
        test: {
          ...SERVERS,
          name: 'alone',
          include: [...ALONE],
          testTimeout: 180_000,
          hookTimeout: 900_000,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
