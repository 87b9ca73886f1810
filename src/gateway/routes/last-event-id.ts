import type { IncomingHttpHeaders } from 'node:http'
import { HelixError } from '../../core/errors.ts'
import type { StreamAnswer } from './stream-origin.ts'

/**
 * What a client of server-sent events has, as it says when it comes back; undefined when it says nothing.
 * @throws HelixError `invalid_value`
 */
export function lastEventIn(
  headers: IncomingHttpHeaders,
): Required<Pick<StreamAnswer, 'afterSeq' | 'epoch'>> | undefined {
  const lastEventId = headers['last-event-id']
  if (lastEventId === undefined) return undefined
  const [, epoch, seq] = /^([\x21-\x2e\x30-\x7e]{1,64})\/(\d{1,9})$/.exec(String(lastEventId)) ?? []
  if (epoch === undefined) {
    throw new HelixError('invalid_value', 'Last-Event-ID must be the id of an event, <epoch>/<number>.', {
      param: 'Last-Event-ID',
    })
  }
  return { afterSeq: Number(seq), epoch }
}
