import type { CachedAnswer } from '../../cache/cached-answer.ts'
import { Flight } from '../../cache/flight.ts'
import type { HelixError } from '../../core/errors.ts'
import type { AnswerKind } from '../dispatch/exchange.ts'
import { NO_USAGE } from '../dispatch/usage.ts'
import { streamEnd, streamOf, wholeOf } from './answer-forms.ts'
import { Subscriber, type SubscriberParts } from './subscriber.ts'

/** What goes out at once; more goes as the client takes it. */
const AT_ONCE_BYTES_MAX = 64 * 1024

type Reader = Omit<SubscriberParts, 'source' | 'cache'>

/**
 * Gives a kept answer to one more client, in the form that it wants.
 * @returns undefined when it was given at once; 'unfit' when that form cannot be made of it
 */
export function giveKept(
  answer: CachedAnswer,
  kind: AnswerKind,
  reader: Reader,
): undefined | 'unfit' | Promise<unknown> {
  const bytes = formOf(answer, kind, reader)
  if (!bytes) return 'unfit'
  const { recipient, asker, wantsStream } = reader
  if (wantsStream && bytes.length > AT_ONCE_BYTES_MAX) return readOn(bytes, kind, reader)
  if (recipient.gone) return undefined
  asker.settled({
    usage: NO_USAGE,
    estimated: false,
    worked: true,
    firstTokenMs: wantsStream ? reader.clock.monotonic() : undefined,
    error: undefined,
    cache: 'hit',
  })
  if (wantsStream) recipient.endWith(bytes)
  else recipient.whole(bytes)
  return undefined
}

function formOf(
  { form, body, usage }: CachedAnswer,
  kind: AnswerKind,
  { wantsStream, includeUsage }: Reader,
): Buffer | undefined {
  if (!wantsStream) return form === 'whole' ? body : wholeOf(body, kind, usage)
  const events = form === 'stream' ? body : streamOf(body, kind)
  return events && Buffer.concat([events, streamEnd(events, usage, includeUsage)])
}

/** In pieces, no faster than the client reads. */
function readOn(bytes: Buffer, kind: AnswerKind, reader: Reader): Promise<unknown> {
  const flight = new Flight<Subscriber>({ bytesMax: bytes.length, abandoned: () => {} })
  const source = {
    kind,
    isStream: true,
    usage: undefined,
    worked: true,
    // Nothing comes after what was put together already.
    ending: () => Buffer.alloc(0),
    quit: (subscriber: Subscriber, error: HelixError) => {
      flight.leave(subscriber)
      subscriber.failed(error)
    },
  }
  const subscriber = new Subscriber({ ...reader, source, cache: 'hit' })
  flight.follow(subscriber)
  for (let at = 0; at < bytes.length; at += AT_ONCE_BYTES_MAX)
    flight.push(bytes.subarray(at, at + AT_ONCE_BYTES_MAX))
  flight.complete()
  return subscriber.done
}
