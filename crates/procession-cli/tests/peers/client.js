// Calls the agent's API through grpc-js, which has an HTTP/2 of its own.
//
//     node client.js PROTO_FOLDER ADDRESS MARKER [CA CERT KEY]
//
// Run with NODE_PATH where its packages are. Prints what it saw as one JSON object.
'use strict';

const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const TIMEOUT = 20000;
const [folder, address, marker, ...tls] = process.argv.slice(2);

function load() {
  const files = ['tetragon/sensors.proto', 'tetragon/eventlogservice.proto', 'procession/v1/lineage.proto'];
  const options = { keepCase: true, longs: String, enums: String, oneofs: true, includeDirs: [folder] };
  return grpc.loadPackageDefinition(loader.loadSync(files.map((file) => path.join(folder, file)), options));
}

function credentials() {
  if (tls.length === 0) return grpc.credentials.createInsecure();
  const [authority, certificate, key] = tls.map((file) => fs.readFileSync(file));
  return grpc.credentials.createSsl(authority, key, certificate);
}

const api = load();
const agent = new api.tetragon.FineGuidanceSensors(address, credentials());
const log = new api.tetragon.EventLogService(address, credentials());
const lineage = new api.procession.v1.LineageService(address, credentials());

const deadline = () => ({ deadline: Date.now() + TIMEOUT });

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function code(promise) {
  try {
    await promise;
  } catch (error) {
    return [grpc.status[error.code], error.details];
  }
  throw new Error('it should have failed');
}

// What `take` makes of the messages of a stream, until it makes something.
function stream(client, method, request, take) {
  return new Promise((resolve, reject) => {
    const messages = client[method](request, deadline());
    const done = (value) => {
      messages.on('error', () => {});
      messages.cancel();
      resolve(value);
    };
    messages.on('data', (message) => {
      const value = take(message);
      if (value !== undefined) done(value);
    });
    messages.on('error', reject);
    messages.on('end', () => reject(new Error(`${method} ended`)));
  });
}

async function all(client, method, request) {
  let count = 0;
  await new Promise((resolve, reject) => {
    const messages = client[method](request, deadline());
    messages.on('data', () => { count += 1; });
    messages.on('error', reject);
    messages.on('end', resolve);
  });
  return count;
}

async function main() {
  const seen = {};
  const request = { allow_list: [{ arguments_regex: [`^${marker}$`] }] };
  seen.exec = await stream(agent, 'GetEvents', request, (message) => message.process_exec?.process);
  seen.health = (await call(agent, 'GetHealth', {})).health_status.map((status) => status.status);
  seen.version = (await call(agent, 'GetVersion', {})).version;
  seen.info = (await call(agent, 'GetInfo', {})).version;
  await call(agent, 'RuntimeHook', { createContainer: { cgroupsPath: '/a', rootDir: '/', containerName: 'c' } });
  const level = await call(agent, 'GetDebug', { flag: 'CONFIG_FLAG_LOG_LEVEL' });
  seen.level = level.level;
  await call(agent, 'SetDebug', { flag: 'CONFIG_FLAG_LOG_LEVEL', level: level.level });
  const dump = { flag: 'CONFIG_FLAG_DUMP_PROCESS_CACHE', dump: { skip_zero_refcnt: true } };
  seen.dumped = (await call(agent, 'GetDebug', dump)).processes.processes.length;
  seen.refused = {};
  for (const method of Object.keys(api.tetragon.FineGuidanceSensors.service)) {
    if (/Polic|Sensor|Domain/.test(method)) seen.refused[method] = await code(call(agent, method, {}));
  }
  await call(log, 'SetEventLogParams', { max_backups: 6 });
  seen.backups = (await call(log, 'GetEventLogParams', {})).max_backups;
  seen.running = await stream(lineage, 'Follow', {}, (item) => item.snapshot_end?.processes);
  seen.listed = await all(lineage, 'ListProcesses', {});
  seen.tree = await all(lineage, 'GetTree', { root: { pid: 1 } });
  const chain = await call(lineage, 'GetLineage', { target: { exec_id: seen.exec.exec_id } });
  seen.chain = chain.chain.map((link) => link.process.process.binary);
  seen.received = (await call(lineage, 'GetLedger', {})).accounts.length;
  seen.observing = (await call(lineage, 'GetStatus', {})).is_observing;
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
