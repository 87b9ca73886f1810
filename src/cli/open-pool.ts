import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import type { Settings } from '../config/load.ts'
import type { PoolClient } from '../contracts/pool.ts'
import { PoolRpcClient } from '../contracts/pool-rpc-client.ts'
import { overTls, type TlsFiles } from '../contracts/rpc-transport.ts'
import type { Logger } from '../core/log.ts'
import type { ModelStore } from '../engines/model-store.ts'
import { localNode } from '../pool/node-directory.ts'
import { startPool } from '../pool/start.ts'
import { systemClock } from '../system.ts'
import { tlsFiles } from './auth-service.ts'
import { type OpenNodeRequest, openNode } from './open-node.ts'

export interface OpenedPool {
  readonly pool: PoolClient
  /** Undefined where models are on other machines. */
  readonly store: ModelStore | undefined
  /** For engines of other machines. */
  readonly tls: TlsFiles | undefined
}

/** How long a call to the pool waits for an answer, or for a pool that leads. */
const POOL_TIMEOUT_MS = 5_000

/** The pool as a gateway uses it: in this process with the engines of this machine, or where `rpc.poolUrls` says. */
export async function openPool(request: OpenNodeRequest): Promise<OpenedPool> {
  const { settings, lifecycle } = request
  if (settings.config.rpc.poolUrls.length === 0) return startOwnPool(request)
  const tls = tlsFiles(settings)
  const pool = poolClient(settings, request.log)
  lifecycle.add('pool client', () => pool.stop())
  return { pool, store: undefined, tls }
}

/** @throws HelixError `invalid_configuration` without certificates */
export function poolClient(settings: Settings, log: Logger): PoolRpcClient {
  const tls = tlsFiles(settings)
  return new PoolRpcClient({
    gateway: `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`,
    urls: settings.config.rpc.poolUrls,
    open: (url) => overTls(url, tls),
    timeoutMs: POOL_TIMEOUT_MS,
    clock: systemClock,
    log,
  })
}

async function startOwnPool(request: OpenNodeRequest): Promise<OpenedPool> {
  const { settings, metrics, log, lifecycle } = request
  const { node, store } = await openNode(request)
  const { config } = settings
  const running = await startPool({ config, nodes: localNode(node), clock: systemClock, log, metrics })
  lifecycle.add('pool', () => running.stop())
  return { pool: running.pool, store, tls: undefined }
}
