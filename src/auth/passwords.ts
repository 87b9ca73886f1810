import { hash } from '@node-rs/argon2'

/** OWASP's first choice for argon2id: 19 MiB, two passes. The library does it off the main thread. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const

export function hashPassword(password: string): Promise<string> {
  return hash(password, PARAMETERS)
}
