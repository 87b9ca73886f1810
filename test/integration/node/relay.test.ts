import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { checkServerIdentity, connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EngineAddress } from '../../../src/contracts/pool.ts'
import { type TlsFiles, tlsOptions } from '../../../src/contracts/rpc-transport.ts'
import { silentLog } from '../../../src/core/log.ts'
import { EngineClients } from '../../../src/gateway/dispatch/engine-client.ts'
import { Relay } from '../../../src/node/relay.ts'
import { makeCertificates } from '../../support/certificates.ts'

const CHUNK_BYTES = 2 ** 16
const OFFERED_BYTES = 2 ** 26

let directory: string
let tls: TlsFiles
let strangers: TlsFiles
let relay: Relay
let engine: Server
let address: EngineAddress
/** What the engine does with its next connection. */
let serve: (socket: Socket) => void = () => {}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'helixflow-relay-'))
  ;[tls, strangers] = await Promise.all([makeCertificates(), makeCertificates()])
  relay = await Relay.start({ host: '0.0.0.0', port: 0, tls, publicHost: 'localhost', log: silentLog })
  engine = createServer((socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  const socketPath = join(directory, 'engine.sock')
  engine.listen(socketPath)
  await once(engine, 'listening')
  address = { url: 'http://localhost', socketPath, apiKey: 'key' }
})
afterAll(async () => {
  await relay?.stop()
  engine?.close()
  for (const one of [directory, dirname(tls.key), dirname(strangers.key)]) rmSync(one, { recursive: true })
})

function open(files: TlsFiles, serverName: string | undefined): TLSSocket {
  const socket = connect({
    ...tlsOptions(files),
    host: '127.0.0.1',
    port: Number(new URL(relay.publish('i1', address).url).port),
    ...(serverName === undefined ? {} : { servername: serverName }),
    checkServerIdentity: (_, certificate) => checkServerIdentity('localhost', certificate),
  })
  socket.on('error', () => {})
  return socket
}

async function echo(): Promise<void> {
  const socket = open(tls, relay.publish('i1', address).serverName)
  socket.write('x')
  await once(socket, 'data')
  socket.destroy()
}

function closed(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()))
}

describe('the relay of a node', () => {
  test('carries whatever bytes there are, whole and in order, both ways', async () => {
    serve = (socket) => void socket.pipe(socket)
    const socket = open(tls, relay.publish('i1', address).serverName)
    const sent = Buffer.from(Array.from({ length: 3 * CHUNK_BYTES + 7 }, (_, at) => (at * 7) % 251))
    socket.write(sent)
    const received: Buffer[] = []
    for await (const chunk of socket) {
      received.push(chunk as Buffer)
      if (Buffer.concat(received).length >= sent.length) break
    }
    expect(Buffer.concat(received).equals(sent)).toBe(true)
    socket.destroy()
  })

  test('what an engine said before it hung up arrives whole', async () => {
    serve = (socket) => void socket.end(Buffer.alloc(20 * CHUNK_BYTES, 1))
    const socket = open(tls, relay.publish('i1', address).serverName)
    let receivedBytes = 0
    for await (const chunk of socket) receivedBytes += (chunk as Buffer).length
    expect(receivedBytes).toBe(20 * CHUNK_BYTES)
  })

  test('an engine is no faster than whoever reads', async () => {
    let writtenBytes = 0
    serve = (socket) => {
      const fill = () => {
        while (writtenBytes < OFFERED_BYTES && !socket.destroyed) {
          writtenBytes += CHUNK_BYTES
          if (!socket.write(Buffer.alloc(CHUNK_BYTES))) return
        }
        socket.end()
      }
      socket.on('drain', fill)
      fill()
    }
    const socket = open(tls, relay.publish('i1', address).serverName)
    socket.pause()
    await expect.poll(() => writtenBytes).toBeGreaterThan(0)
    serve = (other) => void other.pipe(other)
    // As long as others are served well many times, it had the time to say all.
    for (let round = 0; round < 50; round++) await echo()
    expect(writtenBytes).toBeLessThan(OFFERED_BYTES / 2)
    let readBytes = 0
    for await (const chunk of socket) readBytes += (chunk as Buffer).length
    expect(readBytes).toBe(OFFERED_BYTES)
  })

  test('an engine hears at once that its client is gone', async () => {
    const gone = new Promise<void>((resolve) => {
      serve = (socket) => {
        socket.write('begun')
        socket.once('close', () => resolve())
        socket.resume()
      }
    })
    const socket = open(tls, relay.publish('i1', address).serverName)
    await once(socket, 'data')
    socket.destroy()
    await gone
  })

  test.each([
    ['who asks for an engine that there is not', () => open(tls, 'ff00.engine.helixflow')],
    ['who names no engine', () => open(tls, undefined)],
    ['a certificate of another authority', () => open(strangers, relay.publish('i1', address).serverName)],
  ])('leads %s nowhere', async (_name, attempt) => {
    let reached = 0
    serve = () => {
      reached += 1
    }
    const socket = attempt()
    await closed(socket)
    expect(reached).toBe(0)
  })

  test('an engine that is gone is led to no more', async () => {
    const { serverName } = relay.publish('i1', address)
    relay.revoke('i1')
    const socket = open(tls, serverName)
    await closed(socket)
    expect(relay.publish('i1', address).serverName).not.toBe(serverName)
  })
})

describe('a gateway', () => {
  const replica = (own: Partial<EngineAddress> = {}) => ({
    ...{
      id: `r${JSON.stringify(own)}`,
      model: 'm',
      engineModel: 'm',
      engine: 'llama-server' as const,
      slots: 2,
    },
    ...{ contextLength: 64, supportsTools: false, continues: true, vocabularySize: 10, revision: 'r' },
    address: { ...relay.publish('i1', address), ...own },
  })

  test('asks an engine of another machine through the relay', async () => {
    serve = (socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'))
    }
    const clients = new EngineClients(tls)
    const { dispatcher, origin } = clients.get(replica())
    const { body } = await dispatcher.request({ origin, path: '/', method: 'GET' })
    expect(await body.text()).toBe('hi')
    await clients.stop()
  })

  test('does not talk to a machine whose certificate names another one', async () => {
    const clients = new EngineClients(tls)
    const { port } = new URL(relay.publish('i1', address).url)
    const { dispatcher, origin } = clients.get(replica({ url: `https://127.0.0.2:${port}` }))
    await expect(dispatcher.request({ origin, path: '/', method: 'GET' })).rejects.toMatchObject({
      code: 'ERR_TLS_CERT_ALTNAME_INVALID',
    })
    await clients.stop()
  })
})
