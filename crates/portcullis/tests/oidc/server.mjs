// An OpenID Connect server that shares no code with the gateway, for tests/oidc.rs. It obeys lines on
// its standard input, one answer line for each:
//   rotate        signs with a new key from now on; the three newest keys are published
//   token ALG     a token signed by ALG with a key of its own
import { createInterface } from 'node:readline';
import { OAuth2Server } from 'oauth2-mock-server';

const server = new OAuth2Server();
const { issuer, service } = server;
const claims = { aud: 'api://gateway', sub: 'u-7' };
const published = [];
const { keys } = issuer;
const [every, pick] = [keys.toJSON.bind(keys), keys.get.bind(keys)];
keys.toJSON = (hidden) => every(hidden).filter((key) => published.includes(key.kid));
keys.get = (kid) => pick(kid ?? published.at(-1));
service.on('beforeTokenSigning', (token) => Object.assign(token.payload, claims));

async function rotate() {
  const { kid } = await keys.generate('RS256');
  published.push(kid);
  if (published.length > 3) published.shift();
  return kid;
}

async function token(alg) {
  const { kid } = await keys.generate(alg);
  published.push(kid);
  return issuer.buildToken({ kid, scopesOrTransform: (_, payload) => Object.assign(payload, claims) });
}

await rotate();
await server.start(0, '127.0.0.1');
console.log(issuer.url);
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, alg] = line.split(' ');
  console.log(await (verb === 'token' ? token(alg) : rotate()));
}
await server.stop();
