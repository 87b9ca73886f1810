import { randomUUID } from 'node:crypto'

/** Ours for every request; what a client sends is logged beside it but never becomes it. */
export function makeRequestId(): string {
  return `req_${randomUUID().replaceAll('-', '').slice(0, 24)}`
}
