import { createHmac, timingSafeEqual } from 'node:crypto'
import { CredentialFormat, type NewApiKey } from './api-keys.ts'
import { randomDigits } from './identifiers.ts'

const FORMAT = new CredentialFormat('hf_refresh')

/** 131 random bits, and a mark that only we can make: together as long as the secret of any credential. */
const RANDOM_LENGTH = 22
const MARK_LENGTH = 21

/** What a session is renewed with; with a session's id where it takes another one's place. */
export function newRefreshToken(pepper: Buffer, id = randomDigits(16)): NewApiKey {
  const random = randomDigits(RANDOM_LENGTH)
  return { id, plaintext: FORMAT.format(id, random + mark(pepper, id, random)) }
}

/**
 * The session of a token that was once given out here; undefined for anything else. Ids of sessions are no secret, so
 * without the mark anybody could pass for a thief and have a session ended.
 */
export function refreshTokenId(presented: string, pepper: Buffer): string | undefined {
  const id = FORMAT.idOf(presented)
  const secret = presented.split('_')[3] ?? ''
  if (id === undefined) return undefined
  const expected = Buffer.from(mark(pepper, id, secret.slice(0, RANDOM_LENGTH)))
  return timingSafeEqual(Buffer.from(secret.slice(RANDOM_LENGTH)), expected) ? id : undefined
}

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function mark(pepper: Buffer, id: string, random: string): string {
  const digest = createHmac('sha256', pepper).update(`refresh token ${id} ${random}`).digest()
  return Array.from(digest.subarray(0, MARK_LENGTH), (byte) => DIGITS.charAt(byte % DIGITS.length)).join('')
}
