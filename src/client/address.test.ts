import { expect, test } from 'vitest'
import { BEARER_SUBPROTOCOL, SUBPROTOCOL, TICKET_SUBPROTOCOL } from '../contracts/realtime.ts'
import { keyProtocols, probeUrl, socketUrl, ticketProtocols } from './address.ts'

test.each([
  ['http://127.0.0.1:8443', 'ws://127.0.0.1:8443/ws'],
  ['https://ai.example/', 'wss://ai.example/ws'],
  ['https://ai.example/v1', 'wss://ai.example/ws'],
  ['https://example.org/ai/v1/', 'wss://example.org/ai/ws'],
  ['wss://example.org/ai?key=1#x', 'wss://example.org/ai/ws'],
])('the socket of %s is %s', (base, socket) => {
  expect(socketUrl(base)).toBe(socket)
  expect(probeUrl(base)).toBe(socket.replace('ws', 'http'))
})

test.each(['', 'ai.example', 'ftp://ai.example', '/ws'])('%j is refused as an address', (base) => {
  expect(() => socketUrl(base)).toThrow(expect.objectContaining({ code: 'invalid_value' }))
})

test('credentials are offered as the server reads them, in the characters of a subprotocol', () => {
  const key = 'hf_live_ü?>~~~'
  const [first, second = ''] = keyProtocols(key)
  expect(first).toBe(SUBPROTOCOL)
  expect(second.startsWith(BEARER_SUBPROTOCOL)).toBe(true)
  expect(second).toMatch(/^[A-Za-z0-9._-]+$/)
  expect(Buffer.from(second.slice(BEARER_SUBPROTOCOL.length), 'base64url').toString('utf8')).toBe(key)
  expect(ticketProtocols('abc')).toEqual([SUBPROTOCOL, `${TICKET_SUBPROTOCOL}abc`])
})
