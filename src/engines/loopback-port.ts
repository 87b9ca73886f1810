import { once } from 'node:events'
import { createServer } from 'node:net'
import { HelixError } from '../core/errors.ts'

/**
 * A port of this machine alone that nobody listens on. Somebody may take it before the engine does, which then ends at
 * once and is started again with another one; only for engines that know no better way.
 * @throws HelixError `engine_failed` when the system has none
 */
export async function freeLoopbackPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (typeof address === 'object' && address) return address.port
  throw new HelixError('engine_failed', 'The system has no port for the engine.')
}
