import { randomBytes } from 'node:crypto'

/** Ours for every request; what a client sends is logged beside it but never becomes it. */
export function makeRequestId(): string {
  return `req_${randomBytes(12).toString('hex')}`
}
