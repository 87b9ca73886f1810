import { expect, test } from 'vitest'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { MemoryStreams } from '../../streams/memory-streams.ts'
import { errorFields } from './chat-scribe.ts'
import { formatOf } from './event-formats.ts'

test('a failure that is no response is told as the event that clients know a failure by', async () => {
  const store = new MemoryStreams({
    eventsMax: 10,
    bytesMax: 2 ** 20,
    keepMs: 1_000,
    clock: new ManualClock(),
  })
  const head = {
    id: 'resp_1',
    epoch: 'e',
    tenant: 'org_a',
    projectId: 'proj_a',
    kind: 'response',
    requestId: 'req_a',
    model: 'm',
    createdAtMs: 0,
    includeUsage: true,
    detachMs: 0,
  } as const
  const { stream } = await store.create(head, { cancel: () => {} })
  const data = JSON.stringify(errorFields(new HelixError('queue_timeout', 'It took too long.')))
  const [name, id, line] = formatOf(stream).frames({ seq: 1, kind: 'error', data }).split('\n')
  expect([name, id]).toEqual(['event: error', 'id: e/1'])
  expect(JSON.parse(line?.replace('data: ', '') ?? '')).toEqual({
    type: 'error',
    sequence_number: 0,
    code: 'queue_timeout',
    message: 'It took too long.',
    param: null,
  })
})
