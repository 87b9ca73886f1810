import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { HelixError } from '../core/errors.ts'

const NONCE_BYTES = 12
const TAG_BYTES = 16

/**
 * Encrypts and authenticates (AES-256-GCM) with a key of its own for each purpose, derived from the secret outside
 * the database: what was sealed for one purpose opens for no other.
 */
export function seal(secret: Buffer, purpose: string, plaintext: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', keyFor(secret, purpose), nonce)
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** @throws HelixError `internal_error` when it was sealed with something else, or changed */
export function open(secret: Buffer, purpose: string, sealed: Buffer): Buffer {
  try {
    const decipher = createDecipheriv('aes-256-gcm', keyFor(secret, purpose), sealed.subarray(0, NONCE_BYTES))
    decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()])
  } catch (cause) {
    throw HelixError.from(cause)
  }
}

function keyFor(secret: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', `helixflow ${purpose}`, 32))
}
