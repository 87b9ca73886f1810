import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { expect, test } from 'vitest'
import { NotificationViewSchema } from './gen/helixflow/v1/monitor_pb.ts'
import type { NotificationView } from './monitor.ts'
import { fromNotificationMessage, toNotificationMessage } from './monitor-messages.ts'

const VIEW: NotificationView = {
  id: 'NodeDown-critical-firing-1',
  receiver: 'on-call',
  alert: 'NodeDown',
  severity: 'critical',
  status: 'firing',
  alerts: 2,
  summary: "Node 'node-1' has been silent for 2 minutes.",
  reminder: true,
  atMs: 1_795_838_270_438,
  attempts: 3,
  outcome: 'delivered',
  doneAtMs: 1_795_838_270_452,
}

function overTheWire(view: NotificationView): NotificationView {
  const bytes = toBinary(NotificationViewSchema, toNotificationMessage(view))
  return fromNotificationMessage(fromBinary(NotificationViewSchema, bytes))
}

test.each([
  ['that was delivered', VIEW],
  ['that waits', { ...VIEW, attempts: 0, reminder: false, outcome: undefined, doneAtMs: undefined }],
])('a notification %s comes over the wire as it is', (_name, view) => {
  expect(overTheWire(view)).toEqual(view)
})

test('a notification with an outcome that there is not is refused', () => {
  const message = { ...toNotificationMessage(VIEW), outcome: 'lost' }
  expect(() => fromNotificationMessage(message)).toThrow(expect.objectContaining({ code: 'invalid_value' }))
})
