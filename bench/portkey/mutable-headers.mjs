// Portkey 1.15.2 writes to the headers of what fetch returned. On Node 20 those cannot be changed, so that each of its
// streams fails with "TypeError: immutable". This gives it answers whose headers can be changed.
const fetch = globalThis.fetch
const { Response } = globalThis

globalThis.fetch = async (...request) => {
  const { body, status, statusText, headers } = await fetch(...request)
  return new Response(body, { status, statusText, headers })
}
