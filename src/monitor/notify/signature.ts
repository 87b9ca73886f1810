import { createHmac } from 'node:crypto'

export const SIGNATURE_HEADER = 'x-helixflow-signature'
export const TIMESTAMP_HEADER = 'x-helixflow-timestamp'

/**
 * `sha256=<hex>`: HMAC-SHA256 of `timestamp.body` with the receiver's secret. The time is part of it, so that what
 * somebody recorded can be refused later.
 */
export function signatureOf(secret: string, timestampS: number, body: string): string {
  return `sha256=${createHmac('sha256', secret).update(`${timestampS}.${body}`).digest('hex')}`
}
