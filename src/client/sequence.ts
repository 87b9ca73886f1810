/** Where an event, or several that were joined into one, stands to what has come before. */
export type Place = 'next' | 'repeated' | 'gap'

/**
 * @param last number of the newest event that has come; 0: none has
 *
 * Joined events of which only a part is new cannot be taken apart: they are a gap, and what follows `last` is asked for.
 */
export function placeOf(
  last: number,
  { seq, seq_to = seq }: { readonly seq: number; readonly seq_to?: number },
): Place {
  if (seq_to <= last) return 'repeated'
  return seq === last + 1 && seq_to >= seq ? 'next' : 'gap'
}
