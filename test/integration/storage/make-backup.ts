import { BackupPlace } from './backup-place.ts'

// Run by tests as a process of its own, to be killed: has the database in argv[2] and makes a backup of it.
const [, , root = ''] = process.argv
const place = await BackupPlace.at(root)
console.log(JSON.stringify({ directory: place.store.directory }))
await place.create()
console.log(JSON.stringify({ message: 'made' }))
await place.stop()
