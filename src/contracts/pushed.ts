/**
 * What a watch tells, as a stream of an RPC, until the signal aborts.
 * @param subscribe begins the watch and returns what ends it
 */
export async function* pushed<Message>(
  subscribe: (push: (message: Message) => void) => () => void,
  signal: AbortSignal,
): AsyncGenerator<Message> {
  const waiting: Message[] = []
  let wake = () => {}
  const end = subscribe((message) => {
    waiting.push(message)
    wake()
  })
  const onAbort = () => wake()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    while (!signal.aborted) {
      yield* waiting.splice(0)
      if (waiting.length > 0 || signal.aborted) continue
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    end()
  }
}

/** As `pushed`, where a message makes all before it worthless: a slow reader gets the latest only. */
export async function* pushedLatest<Message>(
  subscribe: (push: (message: Message) => void) => () => void,
  signal: AbortSignal,
): AsyncGenerator<Message> {
  let latest: { readonly message: Message } | undefined
  const hasNews = (push: (news: true) => void) =>
    subscribe((message) => {
      const isNews = latest === undefined
      latest = { message }
      if (isNews) push(true)
    })
  for await (const _ of pushed(hasNews, signal)) {
    if (!latest) continue
    const { message } = latest
    latest = undefined
    yield message
  }
}
