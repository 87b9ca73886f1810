const CHARACTERS_MAX = 12

/**
 * 32 bits of a key (FNV-1a with the last mix of MurmurHash3, both in the public domain). Of a long key only its length and
 * its end count: keys of one kind, digests above all, differ there, and the whole of a digest takes longer to read than
 * everything else that the cache does with it. Keys with one hash share their popularity, never their value.
 */
export function keyHash(key: string): number {
  let hash = 0x811c9dc5 ^ key.length
  for (let at = Math.max(0, key.length - CHARACTERS_MAX); at < key.length; at++) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
