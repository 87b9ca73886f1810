import { parseConfig } from '../../src/config/schema.ts'

/** The `auth` section as it is by default. */
export const authSettings = parseConfig({}).auth
