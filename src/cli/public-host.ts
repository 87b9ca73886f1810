import { hostname } from 'node:os'
import type { Settings } from '../config/load.ts'

/** The name by which other machines reach this one: an address that stands for all addresses is none. */
export function publicHost({ config: { rpc } }: Settings, listenHost: string): string {
  if (rpc.publicHost !== undefined) return rpc.publicHost
  return listenHost === '0.0.0.0' || listenHost === '::' ? hostname() : listenHost
}
