import { request } from 'undici'
import { answerOfStatus, type ReceiverAnswer } from './receiver-answer.ts'
import type { Telling } from './telling.ts'

export interface Post {
  readonly url: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

/** What an answer says is not read; so much of it is taken off the connection at most. */
const ANSWER_BYTES_MAX = 64 * 1024

/** Redirects are not followed: where alerts go is the operator's to say, not that of whoever answers there. */
export async function postJson(
  { url, body, headers }: Post,
  { clock, signal }: Telling,
): Promise<ReceiverAnswer> {
  try {
    const answer = await request(url, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', 'user-agent': 'helixflow', ...headers },
      signal,
    })
    const retryAfter = answer.headers['retry-after']
    void answer.body.dump({ limit: ANSWER_BYTES_MAX }).catch(() => undefined)
    return answerOfStatus(
      answer.statusCode,
      typeof retryAfter === 'string' ? retryAfter : undefined,
      clock.now(),
    )
  } catch (reason) {
    return { kind: 'later', reason: signal.aborted ? 'it did not answer in time' : connectionWords(reason) }
  }
}

/** Only the code: texts of such failures name the address. */
export function connectionWords(reason: unknown): string {
  const code = reason instanceof Error && 'code' in reason ? String(reason.code) : 'unknown'
  return `it cannot be reached (${/^[A-Z_]{1,60}$/.test(code) ? code : 'unknown'})`
}
