import type { ConnectRouter, HandlerContext } from '@connectrpc/connect'
import { PoolService } from '../contracts/gen/helixflow/v1/pool_pb.ts'
import type { PoolClient } from '../contracts/pool.ts'
import {
  fromDemandMessage,
  fromUseMessage,
  toDeviceViewMessage,
  toExplanationMessage,
  toModelMessage,
  toMovesMessage,
  toNodeMessage,
} from '../contracts/pool-messages.ts'
import type { LeaderView } from '../contracts/pool-service.ts'
import { answering } from '../contracts/rpc-answers.ts'
import { toConnectError } from '../contracts/rpc-errors.ts'
import { spanOf } from '../contracts/rpc-tracing.ts'
import { toWhole } from '../contracts/wire-values.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { GatewayTables } from './gateway-tables.ts'
import type { Nodes } from './nodes.ts'
import { watchTable } from './watch-table.ts'

/** A pool for as long as it leads. */
export interface LeadingPool {
  readonly pool: PoolClient
  readonly nodes: Nodes
  readonly tables: GatewayTables
  readonly epoch: number
  /**
   * Resolves when the nodes have had the time to join. Before that there would seem to be no models, and gateways would
   * give up replicas that are at work.
   */
  readonly settled: Promise<void>
  /** Aborts when it leads no more. */
  readonly over: AbortSignal
}

export interface PoolRpcParts {
  /** Undefined while another one leads. */
  readonly leading: () => LeadingPool | undefined
  readonly leader: () => LeaderView
  readonly clock: Clock
  readonly log: Logger
}

/** The pool's methods, for gateways and nodes. */
export function poolRoutes(parts: PoolRpcParts) {
  return (router: ConnectRouter): void => {
    router.service(PoolService, {
      findLeader: () => {
        const { leads, epoch, url } = parts.leader()
        return { leads, epoch: toWhole(epoch), ...(url === undefined ? {} : { leaderUrl: url }) }
      },
      ...nodeMethods(parts),
      ...modelMethods(parts),
      ...gatewayMethods(parts),
    })
  }
}

function nodeMethods(parts: PoolRpcParts) {
  const lead = leadingIn(parts, async () => {})
  return {
    reportNode: (report: { nodeId: string; incarnation: string; rpcUrl: string }) =>
      lead(async ({ nodes, epoch }) => {
        nodes.report(report)
        return { epoch: toWhole(epoch) }
      }),
    leavePool: ({ nodeId, incarnation }: { nodeId: string; incarnation: string }) =>
      lead(async ({ nodes }) => {
        nodes.leave(nodeId, incarnation)
        return {}
      }),
    listNodes: () => lead(async ({ nodes }) => ({ nodes: nodes.list().map(toNodeMessage) })),
  }
}

interface ModelRequest {
  readonly model: string
}

function modelMethods(parts: PoolRpcParts) {
  const lead = leadingIn(parts)
  const until = ({ signal }: HandlerContext, { over }: LeadingPool) => AbortSignal.any([signal, over])
  return {
    listModels: () => lead(async ({ pool }) => ({ models: (await pool.listModels()).map(toModelMessage) })),
    showModel: ({ model }: ModelRequest) =>
      lead(async ({ pool }) => ({ model: toModelMessage(await pool.showModel(model)) })),
    getRevision: ({ model }: ModelRequest) =>
      lead(async ({ pool }) => ({ revision: await pool.revision(model) })),
    explainWait: ({ model }: ModelRequest) =>
      lead(async ({ pool }) => {
        const { remainingMs, ...rest } = await pool.explainWait(model)
        return { ...rest, ...(remainingMs === undefined ? {} : { remainingMs }) }
      }),
    loadModel: ({ model }: ModelRequest, context: HandlerContext) =>
      lead(async (one) => ({ model: toModelMessage(await one.pool.load(model, until(context, one))) })),
    unloadModel: ({ model }: ModelRequest, context: HandlerContext) =>
      lead(async (one) => ({ model: toModelMessage(await one.pool.unload(model, until(context, one))) })),
    explainModel: ({ model }: ModelRequest) =>
      lead(async ({ pool }) => toExplanationMessage(await pool.explain(model))),
    listPoolDevices: () =>
      lead(async ({ pool }) => ({ devices: (await pool.listDevices()).map(toDeviceViewMessage) })),
    planMoves: ({ model }: ModelRequest) =>
      lead(async ({ pool }) => ({ report: toMovesMessage(await pool.planMoves(model)) })),
    defragment: ({ model }: ModelRequest, context: HandlerContext) =>
      lead(async (one) => ({
        report: toMovesMessage(await one.pool.defragment(model, until(context, one))),
      })),
    readJournal: () => lead(async ({ pool }) => ({ journal: JSON.stringify(await pool.journal()) })),
    checkAvailability: () =>
      lead(async ({ pool }) => {
        const problem = await pool.unavailability()
        if (problem) throw problem
        return {}
      }),
  }
}

function gatewayMethods(parts: PoolRpcParts) {
  const lead = leadingIn(parts)
  return {
    acquire: ({ model, gateway }: { model: string; gateway: string }, context: HandlerContext) =>
      lead(async ({ pool, tables, over }) => {
        await pool.acquire(model, AbortSignal.any([context.signal, over]), spanOf(context))
        tables.wish(gateway, model)
        return {}
      }),
    watchReplicas: (
      { gateway, uses }: { gateway: string; uses: Parameters<typeof fromUseMessage>[0][] },
      { signal }: HandlerContext,
    ) => {
      const one = parts.leading()
      if (!one) throw toConnectError(notLeader())
      return watchTable({
        ...{
          tables: one.tables,
          ready: one.settled,
          gateway,
          uses: uses.map(fromUseMessage),
          clock: parts.clock,
        },
        signal: AbortSignal.any([signal, one.over]),
      })
    },
    reportUse: (request: {
      gateway: string
      uses: Parameters<typeof fromUseMessage>[0][]
      version: bigint
    }) =>
      lead(async ({ tables }) => {
        const { gateway, uses, version } = request
        tables.reportUse(gateway, { uses: uses.map(fromUseMessage), version: Number(version) })
        return {}
      }),
    reportDemand: (request: { gateway: string; models: Parameters<typeof fromDemandMessage>[0][] }) =>
      lead(async ({ tables }) => {
        tables.reportDemand(request.gateway, request.models.map(fromDemandMessage))
        return {}
      }),
  }
}

/** Does the work with the pool that leads here; whoever asks another one is told so. */
function leadingIn(
  { leading, log }: PoolRpcParts,
  ready: (one: LeadingPool) => Promise<void> = ({ settled }) => settled,
) {
  const told = answering(log)
  return <Answer>(work: (one: LeadingPool) => Promise<Answer>): Promise<Answer> =>
    told(async () => {
      const one = leading()
      if (!one) throw notLeader()
      try {
        await ready(one)
        one.over.throwIfAborted()
        const answer = await work(one)
        // With its nodes given up it knows nothing, and would say that there is nothing.
        one.over.throwIfAborted()
        return answer
      } catch (reason) {
        throw one.over.aborted ? notLeader() : reason
      }
    })
}

function notLeader(): HelixError {
  return new HelixError('not_leader', 'Another pool leads at present.')
}
