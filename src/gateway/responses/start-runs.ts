import type { ResponsesStore } from '../../contracts/responses-store.ts'
import type { StreamStore } from '../../streams/stream.ts'
import type { Topics } from '../../streams/topics.ts'
import { StreamRuns, type StreamRunsParts } from '../streaming/stream-runs.ts'
import { JobNews } from './job-news.ts'
import { ResponseKeeper } from './response-keeper.ts'
import { ResponseRuns } from './response-runs.ts'

export interface RunParts extends Omit<StreamRunsParts, 'store'> {
  readonly streams: StreamStore
  readonly responses: ResponsesStore
  readonly topics: Topics
}

/** Everything that is generated into streams, and its end: what is stopped is written down before this resolves. */
export function startRuns({ streams, responses: store, topics, ...parts }: RunParts) {
  const runs = new StreamRuns({ ...parts, store: streams })
  const keeper = new ResponseKeeper({ ...parts, store, jobs: new JobNews(topics) })
  const responses = new ResponseRuns({ runs, store, keeper, clock: parts.clock })
  const stop = async () => {
    await runs.stop()
    await keeper.stop()
  }
  return { runs, responses, keeper, stop }
}
