/** Of length 1, so that a product is the cosine. Undefined for what has no direction: nothing but zeros, or no numbers. */
export function directionOf(vector: Float32Array): Float32Array | undefined {
  const length = Math.sqrt(product(vector, vector))
  return Number.isFinite(length) && length > 0 ? vector.map((one) => one / length) : undefined
}

/** No number for vectors of different lengths. */
export function product(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.NaN
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0)
  return sum
}
