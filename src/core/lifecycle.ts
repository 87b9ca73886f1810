import type { Logger } from './log.ts'

/** Something that was started and must be stopped. */
export interface Stoppable {
  stop(): Promise<void>
}

/**
 * What has been started, in order; stopped in reverse. One failing part never keeps the others running.
 */
export class Lifecycle implements Stoppable {
  private readonly started: { name: string; stop: () => Promise<void> }[] = []
  private stopping: Promise<void> | undefined

  constructor(private readonly log: Logger) {}

  add(name: string, stop: () => Promise<void>): void {
    this.started.push({ name, stop })
  }

  stop(): Promise<void> {
    this.stopping ??= this.stopAll()
    return this.stopping
  }

  private async stopAll(): Promise<void> {
    for (const { name, stop } of this.started.reverse()) {
      try {
        await stop()
      } catch (cause) {
        this.log.error('part failed to stop', { part: name, cause: String(cause) })
      }
    }
  }
}
