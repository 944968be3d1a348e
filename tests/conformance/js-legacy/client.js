// Jaeger's own JavaScript client, retired but still deployed. See ../README.md for what is said over stdin and stdout.
'use strict';

const { createInterface } = require('node:readline');

const { ConstSampler, InMemoryReporter, RemoteSampler, Tracer } = require('jaeger-client');

const POLL_MS = 100;
const DRAWS = 10_000;

const [hostPort, serviceName, ...operations] = process.argv.slice(2);

let errors = 0;
const logger = {
  info() {},
  error(message) {
    errors += 1;
    console.error(message);
  },
};

const sampler = new RemoteSampler(serviceName, {
  hostPort,
  logger,
  refreshInterval: POLL_MS,
  sampler: new ConstSampler(true),
});
const reporter = new InMemoryReporter(); // it is never asked to send
const tracer = new Tracer(serviceName, reporter, sampler, { logger });

function sampledOf(operation) {
  let sampled = 0;
  for (let draw = 0; draw < DRAWS; draw += 1) {
    sampled += tracer.startSpan(operation).context().isSampled() ? 1 : 0;
  }
  return sampled;
}

const rounds = createInterface({ input: process.stdin });
rounds.on('line', () => console.log(JSON.stringify({ of: DRAWS, sampled: operations.map(sampledOf), errors })));
rounds.on('close', () => process.exit(0));
