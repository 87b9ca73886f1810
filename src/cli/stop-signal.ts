/** SIGTERM and Ctrl-C end in order; a second Ctrl-C ends at once. */
export function stopSignal(): { readonly asked: Promise<void>; readonly signal: AbortSignal } {
  const controller = new AbortController()
  const asked = new Promise<void>((resolve) => {
    const stop = () => {
      controller.abort()
      resolve()
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', () => (controller.signal.aborted ? process.exit(130) : stop()))
  })
  return { asked, signal: controller.signal }
}
