/** Who wants to be told what. */
export class Listeners<Events extends object> {
  private readonly byName = new Map<keyof Events, Set<(value: never) => void>>()

  /** @returns what ends it */
  add<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void {
    const set = this.byName.get(name) ?? new Set()
    this.byName.set(name, set)
    set.add(listener)
    return () => void set.delete(listener)
  }

  /** Soon, so that a listener that throws breaks nothing here. */
  tell<Name extends keyof Events>(name: Name, value: Events[Name]): void {
    for (const listener of this.byName.get(name) ?? []) queueMicrotask(() => listener(value as never))
  }
}
