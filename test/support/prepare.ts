import { testEngine } from './engine.ts'
import { findPgvector } from './pgvector.ts'
import { findPostgresql15 } from './postgresql-15.ts'
import { prometheusPrograms } from './prometheus.ts'
import { redisPrograms } from './redis.ts'

/**
 * Before the first test of a run: the programs that many need and that a fresh clone does not have. Otherwise the test
 * that comes first would wait for them on its own time, and others would be measured beside a compiler. What cannot be had
 * here is no failure yet: the tests that need it say so.
 */
export default async function prepare(): Promise<void> {
  await Promise.allSettled([
    testEngine(),
    redisPrograms(),
    findPostgresql15(),
    findPgvector(),
    prometheusPrograms(),
  ])
}
