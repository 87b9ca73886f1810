import { HelixFlowError } from './helix-flow-error.ts'

export interface QueueBounds {
  readonly items: number
  /** In characters. */
  readonly size: number
}

interface Item<T> {
  readonly value: T
  readonly size: number
}

/** Between who brings and who takes: bounded by what the bringer looks at, ended with or without an error. */
export class EventQueue<T> {
  private items: Item<T>[] = []
  private head = 0
  private size = 0
  private ended = false
  private error: HelixFlowError | undefined
  private taker: { resolve(value: T | undefined): void; reject(reason: unknown): void } | undefined

  /** @param taken called each time something was taken */
  constructor(
    private readonly bounds: QueueBounds,
    private readonly taken: () => void = () => {},
  ) {}

  get isFull(): boolean {
    return this.length >= this.bounds.items || this.size >= this.bounds.size
  }

  /** Whether there is room again for more than the next one. */
  get isRoomy(): boolean {
    return this.length <= this.bounds.items / 2 && this.size <= this.bounds.size / 2
  }

  get length(): number {
    return this.items.length - this.head
  }

  push(value: T, size: number): void {
    if (this.ended) return
    const { taker } = this
    if (taker !== undefined) {
      this.taker = undefined
      taker.resolve(value)
      return
    }
    this.items.push({ value, size })
    this.size += size
  }

  /** The oldest, which makes room. */
  shift(): T | undefined {
    const item = this.items[this.head]
    if (item === undefined) return undefined
    this.head++
    this.size -= item.size
    if (this.head === this.items.length || this.head > 1_024) {
      this.items = this.items.slice(this.head)
      this.head = 0
    }
    return item.value
  }

  clear(): void {
    this.items = []
    this.head = 0
    this.size = 0
  }

  /** What is in it can still be taken; then it is over, with the error if there is one. */
  end(error?: HelixFlowError): void {
    if (this.ended) return
    this.ended = true
    this.error = error
    const { taker } = this
    this.taker = undefined
    if (error === undefined) taker?.resolve(undefined)
    else taker?.reject(error)
  }

  /** The next one; undefined at the end. One asks at a time. @throws what it was ended with */
  async take(): Promise<T | undefined> {
    const value = this.shift()
    if (value !== undefined) {
      this.taken()
      return value
    }
    if (this.error !== undefined) throw this.error
    if (this.ended) return undefined
    if (this.taker !== undefined) {
      throw new HelixFlowError('consumed', 'Events can be read by one reader only, one after the other.')
    }
    const next = new Promise<T | undefined>((resolve, reject) => {
      this.taker = { resolve, reject }
    })
    this.taken()
    return next
  }
}
