import { setImmediate as immediately } from 'node:timers/promises'
import { request } from 'undici'
import { HelixError } from '../core/errors.ts'
import type { Sample } from '../core/metrics/sample.ts'
import type { Target } from './target.ts'
import { parseSampleLine } from './text-format.ts'

/** A process has at most 10,000 series, of which no line has more than a few hundred characters. */
const BYTES_MAX = 16 * 2 ** 20
const LINES_AT_ONCE = 500

/** A process elsewhere, by the address at which Prometheus would read it. */
export function remoteTarget({ url, role }: { readonly url: string; readonly role: string }): Target {
  return { instance: new URL(url).host, role, read: (signal) => readMetrics(url, signal) }
}

async function readMetrics(url: string, signal: AbortSignal): Promise<readonly Sample[]> {
  try {
    const { statusCode, body } = await request(url, { signal, headers: { accept: 'text/plain' } })
    if (statusCode !== 200) {
      body.on('error', () => {}).destroy()
      throw unreadable(`it answers ${statusCode}`)
    }
    return await parseLines(await boundedText(body))
  } catch (reason) {
    if (reason instanceof HelixError) throw reason
    throw unreadable(signal.aborted ? 'it does not answer in time' : whyOf(reason), reason)
  }
}

/** Whole, and only then read: a line may stand in two pieces, and a letter too. */
async function boundedText(body: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  let bytes = 0
  for await (const piece of body) {
    bytes += piece.length
    if (bytes > BYTES_MAX) throw unreadable(`it says more than ${BYTES_MAX / 2 ** 20} MiB`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString('utf8')
}

async function parseLines(text: string): Promise<readonly Sample[]> {
  const samples: Sample[] = []
  let lines = 0
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf('\n', start)
    const end = newline < 0 ? text.length : newline
    const sample = parseSampleLine(text.slice(start, end))
    if (sample) samples.push(sample)
    start = end + 1
    if (++lines % LINES_AT_ONCE === 0) await immediately()
  }
  return samples
}

function whyOf(reason: unknown): string {
  const { code, message } = reason as NodeJS.ErrnoException
  return code === 'ECONNREFUSED' ? 'nobody listens there' : (message ?? String(reason))
}

function unreadable(why: string, cause?: unknown): HelixError {
  return new HelixError('upstream_unavailable', why, { cause })
}
