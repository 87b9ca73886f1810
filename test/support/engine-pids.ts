import type { Server } from './server.ts'

/** The processes that have served this model, in order; the last one does now. */
export function enginePids(server: Pick<Server, 'log'>, model: string): number[] {
  const lines = server.log().matchAll(new RegExp(`"pid":(\\d+),"alias":"${model}"`, 'g'))
  return [...lines].map((match) => Number(match[1]))
}
