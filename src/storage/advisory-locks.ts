/** Keys for PostgreSQL's advisory locks, which are plain numbers: every use in this program stands here. */
export const ADVISORY_LOCKS = {
  /** Held for as long as a HelixFlow uses its embedded database. */
  instance: 7_411_001,
  /** Held for one migration. */
  migration: 7_411_002,
  /** Held while the key that signs tokens changes. */
  signingKeys: 7_411_010,
  /** Held while partitions of usage records are made and dropped. */
  usagePartitions: 7_411_003,
  /** Held by the pool that leads. */
  poolLeader: 7_411_030,
  /** Held while a backup is made. */
  backup: 7_411_020,
  /** Held while a login from an identity provider finds or makes its user. */
  externalLogins: 7_411_011,
  /** With a number of the organisation: held while one of its requests takes its worst cost out of budgets. */
  spend: 7_411_012,
} as const
