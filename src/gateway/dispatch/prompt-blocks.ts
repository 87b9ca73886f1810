import { hash } from 'node:crypto'

const BLOCK_CHARACTERS = 512
/** Tokens of a block, as they mostly are: only an engine knows. */
export const BLOCK_TOKENS = 128
/** What comes after half a megabyte makes no difference to where a prompt goes. */
const BLOCKS_MAX = 1_024

/**
 * Names for the beginnings of a prompt, block by block. Each name depends on all that comes before it and on the tenant: what
 * one tenant has asked before tells another nothing, not even by the time that its answer takes. Only whole blocks have
 * one; the rest of a prompt is read anew in any case.
 */
export function promptBlocks(tenant: string, prompt: string): readonly string[] {
  const count = Math.min(BLOCKS_MAX, Math.floor(prompt.length / BLOCK_CHARACTERS))
  const names: string[] = []
  let name = `${tenant}\n`
  for (let at = 0; at < count; at++) {
    name = hash('sha1', name + prompt.slice(at * BLOCK_CHARACTERS, (at + 1) * BLOCK_CHARACTERS), 'base64')
    names.push(name)
  }
  return names
}
