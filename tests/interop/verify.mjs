// Checks access tokens of Gatelet with nothing but its public keys.
//
//     node verify.mjs http://127.0.0.1:5000/.well-known/paseto-keys < token

import { realpathSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { InspectFooter, PublicProtocol } from 'paseto'
import { ImportPublicKeyFactory, VerifyFactory } from 'paseto/v4/public'

const v4 = new PublicProtocol(ImportPublicKeyFactory, VerifyFactory)

/** The key set of a URL or a file, by key id. */
export async function loadKeys(source) {
  const body = source.includes('://')
    ? await (await fetch(source, { signal: AbortSignal.timeout(5000) })).text()
    : await readFile(source, 'utf8')
  const entries = JSON.parse(body).keys.map(async ({ kid, public_key }) => [kid, await v4.ImportPublicKey(public_key)])
  return new Map(await Promise.all(entries))
}

/** The claims of a good access token. Any rejection means: refuse the request with 401. */
export async function verify(token, keys, issuer = 'gatelet') {
  const { kid } = JSON.parse(new TextDecoder().decode(InspectFooter(token))) // only chooses the key; the signature covers it
  const key = keys.get(kid)
  if (!key) throw new Error('unknown key') // after a key rotation: load the key set again, but not at every request
  const { claims } = await v4.Verify(key, token, { issuer, requiredClaims: ['nbf'], clockTolerance: 5 }) // and exp
  if (claims.typ !== 'access') throw new Error('not an access token')
  return claims
}

if (process.argv[1] && realpathSync(process.argv[1]) === import.meta.filename) {
  try {
    console.log((await verify((await text(process.stdin)).trim(), await loadKeys(process.argv[2]))).sub)
  } catch (error) {
    console.error(`refused: ${error.message}`)
    process.exitCode = 1
  }
}
