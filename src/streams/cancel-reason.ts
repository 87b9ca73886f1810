import { z } from 'zod'
import { ERROR_CODES, HelixError } from '../core/errors.ts'

const Reason = z.object({ code: z.string(), message: z.string() })

/** Why a stream is to end, on its way to the gateway of its producer. */
export function writeReason({ code, publicMessage }: HelixError): string {
  return JSON.stringify({ code, message: publicMessage })
}

/** A code that only a newer program knows ends it all the same. */
export function readReason(text: string): HelixError {
  const { code, message } = Reason.parse(JSON.parse(text))
  return new HelixError(ERROR_CODES.find((one) => one === code) ?? 'client_closed_request', message)
}
