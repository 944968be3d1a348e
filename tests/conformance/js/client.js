// OpenTelemetry's JavaScript sampler, as an application would set it up. See ../README.md for what is said over stdin
// and stdout.
'use strict';

const { randomBytes } = require('node:crypto');
const { createInterface } = require('node:readline');

const { ROOT_CONTEXT, SamplingDecision, SpanKind, diag, DiagLogLevel } = require('@opentelemetry/api');
const { JaegerRemoteSampler } = require('@opentelemetry/sampler-jaeger-remote');

const POLL_MS = 100;
const DRAWS = 10_000;

const [endpoint, serviceName, ...operations] = process.argv.slice(2);

let errors = 0;
const complain = (...words) => {
  errors += 1;
  console.error(...words);
};
const ignore = () => {};
diag.setLogger({ error: complain, warn: complain, info: ignore, debug: ignore, verbose: ignore }, DiagLogLevel.WARN);

const sampler = new JaegerRemoteSampler({
  endpoint: `http://${endpoint}`, // it appends "/sampling" itself
  serviceName,
  poolingInterval: POLL_MS, // spelt so
  initialSampler: { shouldSample: () => ({ decision: SamplingDecision.RECORD_AND_SAMPLED }) },
});

function sampledOf(operation) {
  let sampled = 0;
  for (let draw = 0; draw < DRAWS; draw += 1) {
    const traceId = randomBytes(16).toString('hex');
    const { decision } = sampler.shouldSample(ROOT_CONTEXT, traceId, operation, SpanKind.SERVER, {}, []);
    sampled += decision === SamplingDecision.RECORD_AND_SAMPLED ? 1 : 0;
  }
  return sampled;
}

const rounds = createInterface({ input: process.stdin });
rounds.on('line', () => console.log(JSON.stringify({ of: DRAWS, sampled: operations.map(sampledOf), errors })));
rounds.on('close', () => process.exit(0)); // its timer would keep the process alive
