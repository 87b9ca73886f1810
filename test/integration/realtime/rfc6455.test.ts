import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { GatewayBench } from '../../support/gateway-bench.ts'
import { residentBytes } from '../../support/memory.ts'
import { closeFrame, type FrameParts, frame, OPCODE, RawSocket } from '../../support/raw-socket.ts'

let bench: GatewayBench
let apiKey: string
let origin: string

beforeAll(async () => {
  bench = await GatewayBench.start({}, {}, { realtime: { handshakesPerSecond: 10_000 } })
  apiKey = bench.server.apiKey
  origin = bench.server.origin
})
afterAll(() => bench?.stop())

const { text, binary, continuation, close, ping, pong } = OPCODE
const KINDS = [
  ['text', text],
  ['binary', binary],
] as const

/** A connection that has been greeted, so that every message after it is answered. */
async function greeted(): Promise<RawSocket> {
  const raw = await RawSocket.open(origin, apiKey)
  raw.sayText({ type: 'hello' })
  expect(await raw.message('welcome')).toMatchObject({ heartbeat_ms: 25_000 })
  return raw
}

let number = 0

/** A message that is answered with its number, filled up to so many bytes. */
function numbered(sizeBytes = 0): { n: number; message: Buffer } {
  const n = ++number
  return { n, message: Buffer.from(JSON.stringify({ type: 'ping', n }).padEnd(sizeBytes)) }
}

/** What was sent is understood, and so is what comes after it. */
async function expectUnderstood(raw: RawSocket, n: number): Promise<void> {
  expect(await raw.message('pong', (one) => one['n'] === n)).toBeDefined()
  await expectAlive(raw)
}

async function expectAlive(raw: RawSocket): Promise<void> {
  const { n, message } = numbered()
  await raw.send(frame(text, message))
  expect(await raw.message('pong', (one) => one['n'] === n)).toBeDefined()
  raw.socket.destroy()
}

async function expectClosed(raw: RawSocket, code: number): Promise<void> {
  expect(await raw.closeCode()).toBe(code)
  raw.socket.end()
  await raw.gone
}

/** The same bytes in one packet, one by one, or as a network cuts them. */
const CUTS = [
  ['whole', undefined],
  ['in pieces of 997', 997],
  ['byte by byte', 1],
] as const

describe.each(KINDS)('1 framing: %s', (_kind, opcode) => {
  test.each([60, 125, 126, 127, 128, 65_535, 65_536])('a message of %i bytes', async (sizeBytes) => {
    const { n, message } = numbered(sizeBytes)
    const raw = await greeted()
    await raw.send(frame(opcode, message))
    await expectUnderstood(raw, n)
  })

  test.each(CUTS)('a message that arrives %s', async (_name, pieceBytes) => {
    const { n, message } = numbered(pieceBytes === 1 ? 200 : 65_536)
    const raw = await greeted()
    await raw.send(frame(opcode, message), pieceBytes)
    await expectUnderstood(raw, n)
  })

  test('an empty message is none that can be read, and no end', async () => {
    const raw = await greeted()
    await raw.send(frame(opcode))
    expect(await raw.message('error')).toMatchObject({ error: { code: 'invalid_json' } })
    await expectAlive(raw)
  })
})

describe('2 pings and pongs', () => {
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('Hello')],
    ['bytes', Buffer.from([0, 255, 254, 253, 252, 251, 0, 255])],
    ['125 bytes', Buffer.alloc(125, 254)],
  ])('a ping with %s is answered with the same', async (_name, payload) => {
    const raw = await greeted()
    await raw.send(frame(ping, payload), payload.length === 125 ? 1 : undefined)
    const answer = await raw.find(({ opcode }) => opcode === pong)
    expect(answer?.payload).toEqual(payload)
    await expectAlive(raw)
  })

  test('a ping of 126 bytes is none', async () => {
    const raw = await greeted()
    await raw.send(frame(ping, Buffer.alloc(126, 254)))
    await expectClosed(raw, 1002)
  })

  test('pongs that nobody asked for change nothing', async () => {
    const raw = await greeted()
    await raw.send(Buffer.concat([frame(pong), frame(pong, 'unsolicited'), frame(ping, 'asked')]))
    const answer = await raw.find(({ opcode }) => opcode === pong)
    expect(String(answer?.payload)).toBe('asked')
    await expectAlive(raw)
  })

  test.each([undefined, 1])('ten pings are answered in their order', async (pieceBytes) => {
    const raw = await greeted()
    const names = Array.from({ length: 10 }, (_, at) => `ping ${at}`)
    await raw.send(Buffer.concat(names.map((name) => frame(ping, name))), pieceBytes)
    await raw.find(({ payload }) => String(payload) === 'ping 9')
    const answers = raw.frames.filter(({ opcode }) => opcode === pong).map(({ payload }) => String(payload))
    expect(answers).toEqual(names)
    raw.socket.destroy()
  })
})

describe('3 reserved bits end the connection', () => {
  const cases = [1, 2, 3, 4, 5, 6, 7].flatMap((reserved) =>
    [text, binary, continuation, close, ping, pong].map((opcode) => [reserved, opcode] as const),
  )
  test.each(cases)('bits %i on opcode %i', async (reserved, opcode) => {
    const raw = await greeted()
    const { n, message } = numbered()
    await raw.send(Buffer.concat([frame(text, message), frame(opcode, '', { reserved }), frame(ping)]))
    expect(await raw.closeCode()).toBe(1002)
    // What came before counts, what came after does not.
    expect(await raw.message('pong', (one) => one['n'] === n)).toBeDefined()
    expect(raw.frames.some(({ opcode: got }) => got === pong)).toBe(false)
    raw.socket.destroy()
  })
})

describe('4 unknown opcodes end the connection', () => {
  test.each([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])('opcode %i', async (opcode) => {
    for (const payload of ['', 'payload']) {
      const raw = await greeted()
      await raw.send(Buffer.concat([frame(opcode, payload), frame(ping)]))
      await expectClosed(raw, 1002)
    }
  })
})

describe.each(KINDS)('5 fragmentation: %s', (_kind, opcode) => {
  const cut = (message: Buffer, pieces: number): Buffer[] => {
    const size = Math.ceil(message.length / pieces)
    return Array.from({ length: pieces }, (_, at) =>
      frame(at === 0 ? opcode : continuation, message.subarray(at * size, (at + 1) * size), {
        fin: at === pieces - 1,
      }),
    )
  }

  test.each([
    [2, undefined],
    [5, undefined],
    [5, 1],
    [64, undefined],
  ])('in %i fragments', async (pieces, pieceBytes) => {
    const { n, message } = numbered(200)
    const raw = await greeted()
    await raw.send(Buffer.concat(cut(message, pieces)), pieceBytes)
    await expectUnderstood(raw, n)
  })

  test.each([undefined, 1])('with pings and pongs between the fragments', async (pieceBytes) => {
    const { n, message } = numbered(200)
    const raw = await greeted()
    const parts = cut(message, 5).flatMap((part, at) => [part, frame(ping, `between ${at}`), frame(pong)])
    await raw.send(Buffer.concat(parts), pieceBytes)
    await raw.message('pong', (one) => one['n'] === n)
    const answers = await raw.find(({ payload }) => String(payload) === 'between 4')
    expect(answers).toBeDefined()
    await expectUnderstood(raw, n)
  })

  test('with empty fragments', async () => {
    const { n, message } = numbered()
    const raw = await greeted()
    const parts = [
      frame(opcode, '', { fin: false }),
      frame(continuation, message, { fin: false }),
      frame(continuation, ''),
    ]
    await raw.send(Buffer.concat(parts))
    await expectUnderstood(raw, n)
  })

  test.each([
    ['a new message inside one', [frame(opcode, '{', { fin: false }), frame(opcode, '}')]],
    ['the other kind inside one', [frame(opcode, '{', { fin: false }), frame(3 - opcode, '}')]],
    ['a continuation of nothing', [frame(continuation, 'x')]],
    ['an open continuation of nothing', [frame(continuation, 'x', { fin: false })]],
    ['a continuation after the end', [...cut(Buffer.from('{"type":"pong"}'), 2), frame(continuation, 'x')]],
    ['a fragmented ping', [frame(ping, 'x', { fin: false }), frame(continuation, 'y')]],
    ['a fragmented pong', [frame(pong, 'x', { fin: false }), frame(continuation, 'y')]],
    ['a fragmented close', [frame(close, '', { fin: false })]],
  ])('%s ends the connection', async (_name, parts) => {
    const raw = await greeted()
    await raw.send(Buffer.concat(parts))
    await expectClosed(raw, 1002)
  })
})

describe('6 UTF-8', () => {
  const VALID = [
    'κόσμε',
    '\u0000',
    '\u007f\u0080\u07ff\u0800\uffff',
    '𐀀\u{10ffff}',
    '\ufdd0\ufffe\u{1fffe}',
    '日本語 🙂',
  ]

  test.each(VALID.flatMap((one) => [undefined, 1].map((pieceBytes) => [one, pieceBytes] as const)))(
    'the text %j comes through (%s bytes at a time)',
    async (content, pieceBytes) => {
      const raw = await greeted()
      const topic = `custom/echo-${++number}`
      raw.sayText({ type: 'subscribe', id: 's', topic })
      const message = Buffer.from(JSON.stringify({ type: 'publish', id: 'p', topic, data: content }))
      // Cut inside of its characters too.
      const middle = Math.floor(message.length - 6)
      const parts = [
        frame(text, message.subarray(0, middle), { fin: false }),
        frame(continuation, message.subarray(middle)),
      ]
      await raw.send(Buffer.concat(parts), pieceBytes)
      expect(await raw.message('event')).toMatchObject({ data: content })
      raw.socket.destroy()
    },
  )

  const INVALID: readonly (readonly [string, string])[] = [
    ['a lone continuation byte', '80'],
    ['the last lone continuation byte', 'bf'],
    ['continuation bytes', '80bf80bf'],
    ['a start without its end', 'c0'],
    ['a start of three', 'e0a0'],
    ['a start of four', 'f09080'],
    ['impossible bytes', 'feff'],
    ['an overlong slash', 'c0af'],
    ['an overlong slash of three', 'e080af'],
    ['an overlong slash of four', 'f08080af'],
    ['an overlong zero', 'c080'],
    ['the first surrogate', 'eda080'],
    ['the last surrogate', 'edbfbf'],
    ['a pair of surrogates', 'eda080edb080'],
    ['beyond the last character', 'f4908080'],
    ['five bytes', 'f888808080'],
    ['six bytes', 'fc8480808080'],
    ['a good start and a bad end', 'cebae1bdb9cf83cebcceb5eda080656469746564'],
  ]
  test.each(INVALID)('%s ends the connection', async (_name, bytes) => {
    const bad = Buffer.from(bytes, 'hex')
    for (const parts of [
      [frame(text, bad)],
      [frame(text, bad.subarray(0, 1), { fin: false }), frame(continuation, bad.subarray(1))],
      [frame(text, '{"type":"ping","n":1', { fin: false }), frame(continuation, bad)],
    ]) {
      const raw = await greeted()
      await raw.send(Buffer.concat(parts))
      await expectClosed(raw, 1007)
    }
  })

  test('in a binary message it is a message that cannot be read', async () => {
    const raw = await greeted()
    await raw.send(frame(binary, Buffer.from('eda080', 'hex')))
    expect(await raw.message('error')).toMatchObject({ error: { code: 'invalid_json' } })
    await expectAlive(raw)
  })
})

describe('7 closing', () => {
  const goods = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
  ]
  test.each(goods)('code %i is answered with the same, and the connection ends', async (code) => {
    const raw = await greeted()
    await raw.send(closeFrame(code, 'bye'))
    await expectClosed(raw, code)
  })

  test.each([0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])(
    'code %i is none',
    async (code) => {
      const raw = await greeted()
      await raw.send(closeFrame(code))
      await expectClosed(raw, 1002)
    },
  )

  test.each([
    ['without a code', frame(close), 1005],
    ['with half a code', frame(close, 'x'), 1002],
    ['with the longest reason', closeFrame(1000, 'x'.repeat(123)), 1000],
    ['with too long a reason', closeFrame(1000, 'x'.repeat(124)), 1002],
    ['with a reason that is no UTF-8', closeFrame(1000, Buffer.from('eda080', 'hex')), 1007],
  ])('a close %s', async (_name, bytes, code) => {
    const raw = await greeted()
    await raw.send(bytes)
    await expectClosed(raw, code)
  })

  test.each([
    ['a message', frame(text, '{"type":"ping","n":-1}')],
    ['a ping', frame(ping, 'late')],
    ['another close', closeFrame(1001)],
    ['nonsense', Buffer.alloc(1_000, 0xff)],
  ])('after a close %s counts no more', async (_name, late) => {
    const raw = await greeted()
    await raw.send(Buffer.concat([closeFrame(1000), late]))
    await expectClosed(raw, 1000)
    expect(raw.frames.filter(({ opcode }) => opcode === close)).toHaveLength(1)
    expect(raw.frames.filter(({ opcode }) => opcode === pong)).toHaveLength(0)
    expect(await raw.message('pong')).toBeUndefined()
  })

  test('what was sent before a close is answered before it', async () => {
    const raw = await greeted()
    const { n, message } = numbered(200_000)
    await raw.send(Buffer.concat([frame(text, message), closeFrame(1000)]))
    expect(await raw.message('pong', (one) => one['n'] === n)).toBeDefined()
    await expectClosed(raw, 1000)
  })
})

describe('masks and lengths', () => {
  test.each([text, binary, ping, pong, close])(
    'opcode %i without a mask ends the connection',
    async (opcode) => {
      const raw = await greeted()
      await raw.send(frame(opcode, '', { masked: false }))
      await expectClosed(raw, 1002)
    },
  )

  test.each([
    ['more than a number holds', 2n ** 63n],
    ['more than is exact', 2n ** 53n],
    ['a byte too many', 2n ** 20n + 1n],
  ])('a length of %s ends the connection at once', async (_name, length) => {
    const raw = await greeted()
    const parts: FrameParts = { length }
    await raw.send(frame(text, 'x', parts))
    await expectClosed(raw, 1009)
  })
})

describe.each(KINDS)('9 and 10 limits: %s', (_kind, opcode) => {
  test.each([
    [2 ** 18, undefined],
    [2 ** 20, undefined],
    [2 ** 20, 64 * 1024],
    [2 ** 20, 1_300],
  ])('a message of %i bytes, %s at a time', async (sizeBytes, pieceBytes) => {
    const { n, message } = numbered(sizeBytes)
    const raw = await greeted()
    await raw.send(frame(opcode, message), pieceBytes)
    await expectUnderstood(raw, n)
  })

  test('a message of 1 MiB in 64 fragments', async () => {
    const { n, message } = numbered(2 ** 20)
    const raw = await greeted()
    for (let at = 0; at < 64; at++)
      await raw.send(
        frame(at === 0 ? opcode : continuation, message.subarray(at << 14, (at + 1) << 14), {
          fin: at === 63,
        }),
      )
    await expectUnderstood(raw, n)
  })

  test('a byte more is too much, in one frame or in several', async () => {
    const over = Buffer.alloc(2 ** 20 + 1, 0x20)
    for (const parts of [
      [frame(opcode, over)],
      [frame(opcode, over.subarray(1), { fin: false }), frame(continuation, ' ')],
    ]) {
      const raw = await greeted()
      await raw.send(Buffer.concat(parts))
      await expectClosed(raw, 1009)
    }
  })

  test('fragments without end cost no memory', async () => {
    const beforeBytes = residentBytes(bench.server.pid)
    const empty = Buffer.concat(
      Array.from({ length: 100_000 }, () => frame(continuation, '', { fin: false })),
    )
    const single = Buffer.concat(Array.from({ length: 65 }, () => frame(continuation, ' ', { fin: false })))
    for (const flood of [empty, single]) {
      const raw = await greeted()
      await raw.send(Buffer.concat([frame(opcode, '{', { fin: false }), flood]))
      await expectClosed(raw, 1008)
    }
    expect(residentBytes(bench.server.pid) - beforeBytes).toBeLessThan(64 * 2 ** 20)
  })
})
