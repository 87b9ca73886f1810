import { LeaderConnection } from '../contracts/leader-connection.ts'
import { serveRpc } from '../contracts/rpc-server.ts'
import { overTls, type TlsFiles } from '../contracts/rpc-transport.ts'
import { Fence } from '../node/fence.ts'
import { PoolMember } from '../node/pool-member.ts'
import { Relay } from '../node/relay.ts'
import { nodeRoutes } from '../node/rpc.ts'
import { systemClock } from '../system.ts'
import { startMetrics } from './metrics-listener.ts'
import { type OpenNodeRequest, openNode } from './open-node.ts'
import { publicHost } from './public-host.ts'
import { startTracing } from './start-tracing.ts'

export interface NodeServiceRequest extends Omit<OpenNodeRequest, 'metrics'> {
  readonly version: string
  readonly tls: TlsFiles
}

export interface StartedNode {
  readonly nodeId: string
  readonly url: string
  readonly metricsUrl: string | undefined
  /** Resolves when a pool has heard of it. */
  readonly joined: Promise<void>
}

/** The engines of this machine, for a pool and gateways on others. */
export async function startNodeService(request: NodeServiceRequest): Promise<StartedNode> {
  const { settings, tls, version, log, lifecycle } = request
  const { rpc } = settings.config
  const { registry: metrics, url: metricsUrl } = await startMetrics({
    settings,
    lifecycle,
    role: 'node',
    version,
  })
  const { config } = settings
  const tracer = await startTracing({ config, role: 'node', version, metrics, log, lifecycle })
  const { node } = await openNode({ ...request, metrics })
  lifecycle.add('engines', async () => {
    await Promise.all((await node.engines()).map(({ request: one }) => node.stop(one.instanceId)))
  })
  const listening = { host: rpc.nodeHost, publicHost: publicHost(settings, rpc.nodeHost), tls }
  const relay = await Relay.start({ ...listening, port: rpc.relayPort, log })
  lifecycle.add('relay', () => relay.stop())
  const fence = new Fence()
  const routes = nodeRoutes({ node, fence, door: relay, log })
  const server = await serveRpc({ ...listening, port: rpc.nodePort, routes, tracer })
  lifecycle.add('rpc', () => server.stop())
  const open = (url: string) => overTls(url, tls)
  const connection = new LeaderConnection({ urls: rpc.poolUrls, open, clock: systemClock, log })
  lifecycle.add('pool connection', async () => connection.stop())
  const { nodeId } = node
  const member = new PoolMember({ nodeId, rpcUrl: server.url, connection, fence, clock: systemClock, log })
  lifecycle.add('pool member', () => member.stop())
  return { nodeId, url: server.url, metricsUrl, joined: member.joined }
}
