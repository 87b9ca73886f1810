/** How long something took to fail, in milliseconds, and with which code. */
export async function failure(work: Promise<unknown>): Promise<{ code: string; tookMs: number }> {
  const startMs = performance.now()
  const code = await work.then(
    () => 'did not fail',
    (error) => error.code,
  )
  return { code, tookMs: performance.now() - startMs }
}
