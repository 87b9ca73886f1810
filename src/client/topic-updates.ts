export interface TopicUpdate<Data = unknown> {
  readonly topic: string
  readonly epoch: string
  readonly seq: number
  readonly data: Data
  /** Why updates before this one are missing; undefined where none is. */
  readonly missed: string | undefined
}

/**
 * The updates of a topic, from now on, over every break of the connection. A reader that is slow gets the newest ones,
 * and is told that it missed some.
 */
export interface TopicSubscription<Data = unknown> extends AsyncIterable<TopicUpdate<Data>> {
  readonly topic: string
  /** Resolves when the server has taken it. @throws HelixFlowError */
  readonly ready: Promise<void>
  close(): void
}
