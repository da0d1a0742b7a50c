// An application with node-postgres' pool: every connection lives a second at most, and an idle one shorter than a pause.
const fs = require("node:fs");
const { Pool } = require("pg");

const WORKERS = 4;
const name = process.env.NAME;
const log = fs.openSync(`/soak/${name}.log`, "a");
const parked = new Set();
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const write = (seconds, said) => fs.writeSync(log, `${(Date.now() / 1000).toFixed(3)} ${seconds.toFixed(3)} ${said}\n`);
const failure = (error) => "FAILED " + `${error.message} ${error.detail ?? ""}`.replace(/\s+/g, " ");

const pool = new Pool({
  connectionString: process.env.DATABASE_URL,
  max: WORKERS,
  idleTimeoutMillis: 500,
  maxLifetimeSeconds: 1,
});
// A connection that breaks while nobody uses it counts as a failure too.
pool.on("error", (error) => write(0, failure(error)));

// Says in a file that all workers pause, as long as they are told to.
function isToldToPause(worker) {
  const told = fs.existsSync("/soak/pause");
  parked[told ? "add" : "delete"](worker);
  const mark = `/soak/${name}.parked`;
  if (parked.size === WORKERS) fs.writeFileSync(mark, "");
  else fs.rmSync(mark, { force: true });
  return told;
}

async function work(worker) {
  for (let number = 1; ; ) {
    if (!isToldToPause(worker)) {
      const began = performance.now();
      let said = "ok";
      try {
        await pool.query("INSERT INTO soak (client, number) VALUES ($1, $2)", [`${name} ${worker}`, number++]);
      } catch (error) {
        said = failure(error);
      }
      write((performance.now() - began) / 1000, said);
    }
    await pause(50);
  }
}

for (let worker = 0; worker < WORKERS; worker++) work(worker);
