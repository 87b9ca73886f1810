import { createHmac, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { randomDigits } from './identifiers.ts'

/** A key as its owner sees it, once. */
export interface NewApiKey {
  /** Public: names the key in lists, logs and messages. */
  readonly id: string
  /** `hf_live_<id>_<secret>_<checksum>`, 75 characters */
  readonly plaintext: string
}

const ID_LENGTH = 16

/** 62^43 is a little more than 2^256. */
const SECRET_LENGTH = 43

/** 62^6 is more than 2^32. */
const CHECKSUM_LENGTH = 6

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/**
 * Credentials of one kind: `<prefix>_<id>_<secret>_<checksum>`. The id is public and finds the row, the secret proves,
 * the checksum refuses a typing error before anything is asked.
 */
export class CredentialFormat {
  private readonly pattern: RegExp

  constructor(private readonly prefix: string) {
    this.pattern = new RegExp(
      `^(${prefix}_([0-9A-Za-z]{${ID_LENGTH}})_[0-9A-Za-z]{${SECRET_LENGTH}})_([0-9A-Za-z]{${CHECKSUM_LENGTH}})$`,
    )
  }

  format(id: string, secret: string): string {
    const body = `${this.prefix}_${id}_${secret}`
    return `${body}_${checksum(body)}`
  }

  /** The id in a well-formed one; undefined for anything else. */
  idOf(presented: string): string | undefined {
    const [, body, id, given] = this.pattern.exec(presented) ?? []
    return body !== undefined && checksum(body) === given ? id : undefined
  }
}

const API_KEYS = new CredentialFormat('hf_live')

export function newApiKey(): NewApiKey {
  const id = randomDigits(ID_LENGTH)
  return { id, plaintext: API_KEYS.format(id, randomDigits(SECRET_LENGTH)) }
}

/** The whole key from its parts. */
export function formatApiKey(id: string, secret: string): string {
  return API_KEYS.format(id, secret)
}

/** The id in a well-formed key; undefined for anything else, so that a typing error costs no look-up. */
export function apiKeyId(presented: string): string | undefined {
  return API_KEYS.idOf(presented)
}

/**
 * What is stored instead of the key. A fast function does for a secret of 256 random bits, which nobody can guess
 * their way to; the pepper, kept outside the database, makes a stolen table worthless even so.
 */
export function apiKeyHmac(plaintext: string, pepper: Buffer): Buffer {
  return createHmac('sha256', pepper).update(plaintext).digest()
}

/** In the same time for a right, a wrong and a missing one. */
export function hmacMatches(presented: Buffer, stored: Buffer | undefined): boolean {
  const equal = timingSafeEqual(presented, stored ?? NOBODY)
  return equal && stored !== undefined
}

/** Identifies a pepper without giving it away. */
export function pepperFingerprint(pepper: Buffer): Buffer {
  return createHmac('sha256', pepper).update('helixflow api key pepper').digest()
}

const NOBODY = Buffer.alloc(32)

function checksum(body: string): string {
  let rest = crc32(body)
  let digits = ''
  for (let index = 0; index < CHECKSUM_LENGTH; index++) {
    digits = DIGITS.charAt(rest % DIGITS.length) + digits
    rest = Math.floor(rest / DIGITS.length)
  }
  return digits
}
