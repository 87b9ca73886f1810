/**
 * Metadata of each call of a pool to a node: which of the pools that ever led makes it. Each that begins to lead has a
 * greater number than all before it, and a node refuses who has a lesser one than it has heard of: fencing, as in
 * M. Kleppmann, "How to do distributed locking" (2016).
 */
export const EPOCH_METADATA = 'helixflow-epoch'

/** Undefined where it is not given or is no number. */
export function readEpoch(headers: Headers): number | undefined {
  const text = headers.get(EPOCH_METADATA)
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
