import { closeSync, openSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { fillAndCompare } from '../support/full-disk.ts'
import { startServer } from '../support/server.ts'
import { noSmallDisk } from '../support/small-disk.ts'

test.skipIf(noSmallDisk !== undefined)(
  'a database whose disk is full says so, serves who is known, and loses, doubles and damages nothing',
  () => fillAndCompare(1),
)

// A device that answers every write as a full disk does.
test.skipIf(process.platform !== 'linux').each(['json', 'text'])(
  'a log in %s that cannot be written neither ends the server nor keeps it from its end',
  async (format) => {
    const logDescriptor = openSync('/dev/full', 'a')
    onTestFinished(() => closeSync(logDescriptor))
    const config = { log: { format } }
    const server = await startServer({ models: {}, model: null, config, logDescriptor })
    onTestFinished(async () => void (await server.stop()))
    const headers = { authorization: `Bearer ${server.apiKey}` }
    for (let request = 0; request < 50; request++)
      expect((await fetch(`${server.url}/models`, { headers })).status).toBe(200)
    expect(await server.stop()).toBe(0)
  },
)
