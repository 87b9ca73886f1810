import type { ConnectRouter, HandlerContext } from '@connectrpc/connect'
import { readEpoch } from '../contracts/epoch.ts'
import { NodeService } from '../contracts/gen/helixflow/v1/node_pb.ts'
import type { NodeClient, StartedEngine, StartOutcome, StartRequest } from '../contracts/node.ts'
import {
  fromShapeMessage,
  fromStartMessage,
  toDeviceMessage,
  toExitMessage,
  toModelFileMessage,
  toOutcomeMessage,
  toRunningMessage,
} from '../contracts/node-messages.ts'
import type { EngineAddress } from '../contracts/pool.ts'
import { pushed, pushedLatest } from '../contracts/pushed.ts'
import { answering } from '../contracts/rpc-answers.ts'
import { toConnectError } from '../contracts/rpc-errors.ts'
import { spanOf } from '../contracts/rpc-tracing.ts'
import { toWhole } from '../contracts/wire-values.ts'
import type { Logger } from '../core/log.ts'
import type { Fence } from './fence.ts'

export interface NodeRpcParts {
  readonly node: NodeClient
  readonly fence: Fence
  readonly door: EngineDoor
  readonly log: Logger
}

/** How other machines reach the engines of this one. */
export interface EngineDoor {
  publish(instanceId: string, address: EngineAddress): EngineAddress
  revoke(instanceId: string): void
}

/** The node's methods, for the pool that leads. */
export function nodeRoutes(parts: NodeRpcParts) {
  const { node, fence, door, log } = parts
  const told = answering(log)
  node.watchExits(({ instanceId }) => door.revoke(instanceId))
  const answer = <Answer>(context: HandlerContext, work: () => Promise<Answer>) =>
    told(async () => {
      fence.admit(readEpoch(context.requestHeader))
      return work()
    })
  return (router: ConnectRouter): void => {
    router.service(NodeService, {
      listDevices: (_, context) =>
        answer(context, async () => ({ devices: (await node.devices()).map(toDeviceMessage) })),
      listModelFiles: (_, context) =>
        answer(context, async () => ({ files: (await node.listModels()).map(toModelFileMessage) })),
      estimateMemory: ({ model, shape }, context) =>
        answer(context, async () => {
          const need = await node.estimate(model, fromShapeMessage(shape))
          return { memoryBytes: toWhole(need.memoryBytes), perDeviceBytes: toWhole(need.perDeviceBytes) }
        }),
      cacheFile: ({ model }, context) => answer(context, () => node.cacheFile(model).then(nothing)),
      listEngines: (_, context) =>
        answer(context, async () => {
          const engines = (await node.engines()).map(({ request, engine }) => ({
            request,
            engine: published(request.instanceId, engine, parts),
          }))
          return { engines: engines.map(toRunningMessage) }
        }),
      startEngine: (request, context) =>
        answer(context, async () =>
          toOutcomeMessage(await startFor(fromStartMessage(request), parts, context)),
        ),
      stopEngine: ({ instanceId }, context) =>
        answer(context, async () => {
          await node.stop(instanceId)
          parts.door.revoke(instanceId)
          return {}
        }),
      quarantineModel: ({ model, reason }, context) =>
        answer(context, () => node.quarantine(model, reason).then(nothing)),
      releaseModel: ({ model }, context) => answer(context, () => node.release(model).then(nothing)),
      checkEngine: (_, context) =>
        answer(context, async () => {
          const problem = node.engineProblem()
          if (problem) throw problem
          return {}
        }),
      ...watches(parts),
    })
  }
}

function watches({ node, fence }: NodeRpcParts) {
  const admitted = (context: HandlerContext): AbortSignal => {
    try {
      fence.admit(readEpoch(context.requestHeader))
    } catch (reason) {
      throw toConnectError(reason)
    }
    return AbortSignal.any([context.signal, fence.signal])
  }
  return {
    watchDevices: (_: unknown, context: HandlerContext) => {
      const signal = admitted(context)
      return pushedLatest<{ devices: ReturnType<typeof toDeviceMessage>[] }>(
        (push) => node.watchDevices((devices) => push({ devices: devices.map(toDeviceMessage) })),
        signal,
      )
    },
    watchExits: (_: unknown, context: HandlerContext) => {
      const signal = admitted(context)
      return pushed<{ exit?: ReturnType<typeof toExitMessage> }>((push) => {
        push({})
        return node.watchExits((exit) => push({ exit: toExitMessage(exit) }))
      }, signal)
    },
  }
}

/** An engine whose pool left before it was ready belongs to nobody: the next pool sees only those that are. */
async function startFor(
  request: StartRequest,
  parts: NodeRpcParts,
  context: HandlerContext,
): Promise<StartOutcome> {
  const left = AbortSignal.any([context.signal, parts.fence.signal])
  const end = () => void parts.node.stop(request.instanceId)
  left.addEventListener('abort', end, { once: true })
  try {
    const outcome = await parts.node.start(request, spanOf(context))
    if (outcome.kind === 'gone') return outcome
    return { kind: 'ready', engine: published(request.instanceId, outcome.engine, parts) }
  } finally {
    left.removeEventListener('abort', end)
  }
}

function published(instanceId: string, engine: StartedEngine, { door }: NodeRpcParts): StartedEngine {
  return { ...engine, address: door.publish(instanceId, engine.address) }
}

function nothing(): Record<string, never> {
  return {}
}
