import type { ResponsesStore } from '../../contracts/responses-store.ts'
import type { StreamStore } from '../../streams/stream.ts'
import { StreamRuns, type StreamRunsParts } from '../streaming/stream-runs.ts'
import { ResponseKeeper } from './response-keeper.ts'
import { ResponseRuns } from './response-runs.ts'

export interface RunParts extends Omit<StreamRunsParts, 'store'> {
  readonly streams: StreamStore
  readonly responses: ResponsesStore
}

/** Everything that is generated into streams, and its end: what is stopped is written down before this resolves. */
export function startRuns({ streams, responses: store, ...parts }: RunParts) {
  const runs = new StreamRuns({ ...parts, store: streams })
  const keeper = new ResponseKeeper({ ...parts, store })
  const responses = new ResponseRuns({ runs, store, keeper, clock: parts.clock })
  const stop = async () => {
    await runs.stop()
    await keeper.stop()
  }
  return { runs, responses, keeper, stop }
}
