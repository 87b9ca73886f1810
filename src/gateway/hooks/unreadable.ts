import type { Socket } from 'node:net'
import { type ErrorCode, HelixError } from '../../core/errors.ts'
import { makeRequestId } from './request-id.ts'

/** Answers what the HTTP parser could not read, in the form of the error contract, and closes the connection. */
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const failure = toFailure(error.code)
  const body = JSON.stringify(failure.toBody())
  // It may go on sending: what comes is dropped for a moment, so that it can read this, then the connection goes.
  socket.resume()
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
  socket.end(
    `HTTP/1.1 ${failure.status} ${REASONS[failure.code] ?? 'Bad Request'}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `x-request-id: ${makeRequestId()}\r\nconnection: close\r\n\r\n${body}`,
  )
}

const LINGER_MS = 250

const REASONS: Partial<Record<ErrorCode, string>> = {
  headers_too_large: 'Request Header Fields Too Large',
  request_timeout: 'Request Timeout',
}

function toFailure(code: string | undefined): HelixError {
  if (code === 'HPE_HEADER_OVERFLOW')
    return new HelixError('headers_too_large', 'The request headers are too large.')
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return new HelixError('request_timeout', 'The request took too long to arrive.')
  return new HelixError('invalid_value', 'The request is not valid HTTP.', { internal: `parser: ${code}` })
}
