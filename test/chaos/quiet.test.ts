import { expect, onTestFinished, test } from 'vitest'
import { quietFor } from '../support/quiet-platform.ts'
import { ReceiverServer } from '../support/receiver-server.ts'
import { type ServerOptions, startServer } from '../support/server.ts'

/** As it is after a first start, and with what many leave out. */
const PLATFORMS: readonly {
  readonly what: string
  readonly timeMs: number
  readonly options: ServerOptions
}[] = [
  { what: 'as it comes, without Redis', timeMs: 20_000, options: {} },
  {
    what: 'without backups and without a model',
    timeMs: 5_000,
    options: { models: {}, model: null, config: { backup: { enabled: false } } },
  },
]

test.each(PLATFORMS)('nobody is told anything of a platform $what', async ({ timeMs, options }) => {
  const receiver = await ReceiverServer.start()
  onTestFinished(() => receiver.stop())
  const receivers = [{ kind: 'webhook', name: 'hook', url: receiver.url }]
  const monitor = { interval: '1s', receivers }
  const server = await startServer({ ...options, config: { ...options.config, monitor } })
  onTestFinished(async () => void (await server.stop()))
  await quietFor(server, timeMs, options.models ? [] : ['tiny'])
  expect(receiver.received).toEqual([])
  expect(server.log()).not.toMatch(/"level":"(warn|error)"/)
})
