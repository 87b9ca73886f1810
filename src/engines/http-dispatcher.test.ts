import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileServer } from '../../test/support/file-server.ts'
import { withDispatcher } from './http-dispatcher.ts'
import { sendRequest } from './http-request.ts'

const NO_PROXY = { httpProxy: undefined, httpsProxy: undefined, noProxy: undefined }

/** A proxy that leads every name to one port of this machine, and lists the names. */
async function startProxy(port: number) {
  const tunnels: string[] = []
  const proxy = createServer()
  proxy.on('connect', (request, client) => {
    tunnels.push(request.url ?? '')
    const target = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n')
      target.pipe(client).pipe(target)
    })
    for (const socket of [client, target]) socket.on('error', () => target.destroy())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const stop = () => new Promise((resolve) => proxy.close(resolve))
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, tunnels, stop }
}

describe('a proxy', () => {
  test('carries requests, except those to hosts that noProxy names', async () => {
    const server = await FileServer.start((_request, response) => response.end('found'))
    const proxy = await startProxy(server.port)
    try {
      const settings = { httpProxy: proxy.url, httpsProxy: undefined, noProxy: '127.0.0.1' }
      await withDispatcher({ proxy: settings }, async (dispatcher) => {
        for (const url of ['http://models.invalid/file', `${server.url}/direct`]) {
          const { status, body } = await sendRequest({ url, dispatcher })
          expect(status).toBe(200)
          await body.dump()
        }
      })
      expect(proxy.tunnels).toEqual(['models.invalid:80'])
      expect(server.seen.map(({ path }) => path)).toEqual(['/file', '/direct'])
    } finally {
      await proxy.stop()
      await server.stop()
    }
  })

  test('that refuses is told as such', async () => {
    const proxy = createServer((_request, response) => response.end())
    proxy.on('connect', (_request, client) => client.end('HTTP/1.1 403 Forbidden\r\n\r\n'))
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const httpProxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    try {
      const request = withDispatcher({ proxy: { ...NO_PROXY, httpProxy } }, (dispatcher) =>
        sendRequest({ url: 'http://models.invalid/file', dispatcher }),
      )
      await expect(request).rejects.toMatchObject({
        code: 'model_source_unavailable',
        message: expect.stringContaining('the proxy refuses'),
      })
    } finally {
      await new Promise((resolve) => proxy.close(resolve))
    }
  })
})

const noOpenssl = spawnSync('openssl', ['version']).status !== 0

describe.skipIf(noOpenssl)(
  `an authority of one's own${noOpenssl ? ' (skipped: no openssl here)' : ''}`,
  () => {
    test('is trusted when it is given, and the way to give it is told when it is not', async () => {
      const { key, cert } = selfSigned()
      const server = createTlsServer({ key, cert }, (_request, response) => response.end('found'))
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const url = `https://localhost:${(server.address() as AddressInfo).port}/file`
      try {
        await withDispatcher({ proxy: NO_PROXY, certificateAuthorities: cert }, async (dispatcher) => {
          const { status, body } = await sendRequest({ url, dispatcher })
          expect(status).toBe(200)
          await body.dump()
        })
        const untrusting = withDispatcher({ proxy: NO_PROXY }, (dispatcher) =>
          sendRequest({ url, dispatcher }),
        )
        await expect(untrusting).rejects.toMatchObject({
          code: 'model_source_unavailable',
          message: expect.stringContaining('NODE_EXTRA_CA_CERTS'),
        })
      } finally {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      }
    })
  },
)

function selfSigned(): { key: string; cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'helixflow-tls-'))
  try {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    const files = ['-keyout', key, '-out', cert, '-days', '1', '-nodes']
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    execFileSync('openssl', ['req', '-x509', ...kind, ...files, ...subject], { stdio: 'ignore' })
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('a host that takes a connection and then says nothing is given up soon', async () => {
  // Reads what comes, to hear the connection end.
  const server = createTcpServer((socket) => socket.on('error', () => socket.destroy()).resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/file`
  try {
    const request = withDispatcher({ proxy: NO_PROXY, connectTimeoutMs: 100 }, (dispatcher) =>
      sendRequest({ url, dispatcher, stallTimeoutMs: 60_000 }),
    )
    await expect(request).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('the host does not answer'),
    })
  } finally {
    await new Promise((resolve) => server.close(resolve))
  }
})
