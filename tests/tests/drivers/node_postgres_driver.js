// node-postgres at the seat, which the PG variables name. A check's name is printed once it held.
'use strict'

const assert = require('node:assert/strict')
const { once } = require('node:events')
const { randomBytes } = require('node:crypto')
const { Readable } = require('node:stream')
const { pipeline } = require('node:stream/promises')
const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const { from, to } = require('pg-copy-streams')

const TLS = { rejectUnauthorized: false }

/** Runs `work` with a session, which ends with it. */
async function using(config, work) {
  const client = new Client(config)
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const value = async (client, ...query) => Object.values((await client.query(...query)).rows[0])[0]

async function until(what, look) {
  const deadline = Date.now() + 60_000
  while (!(await look())) {
    assert(Date.now() < deadline, `waited in vain for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const checks = {
  async encryption() {
    // Its default is none.
    for (const [ssl, encrypted] of [[undefined, false], [TLS, true], [false, false]]) {
      await using({ ssl }, async (client) => {
        assert.equal(Boolean(client.connection.stream.encrypted), encrypted)
        assert.equal(await value(client, 'SELECT 1'), 1)
      })
    }
  },

  async parameters() {
    await using({}, async (client) => {
      const { rows } = await client.query({ text: 'SELECT $1::int + 1, $2::text[], $3::bytea', values: [41, ['a', "ü'"], Buffer.from([0])], rowMode: 'array' })
      assert.deepEqual(rows, [[42, ['a', "ü'"], Buffer.from([0])]])
    })
  },

  async rollback() {
    await using({}, async (client) => {
      await client.query('CREATE TABLE node_rollback (id int PRIMARY KEY)')
      await client.query('BEGIN')
      await client.query('INSERT INTO node_rollback VALUES (1)')
      await client.query('ROLLBACK')
      assert.equal(await value(client, 'SELECT count(*)::int FROM node_rollback'), 0)
    })
  },

  async 'prepared statements'() {
    await using({}, async (client) => {
      for (let number = 0; number < 100; number++) {
        assert.equal(await value(client, { name: 'twice', text: 'SELECT $1::int * 2', values: [number] }), number * 2)
      }
      assert.equal(await value(client, "SELECT count(*)::int FROM pg_prepared_statements WHERE name = 'twice'"), 1)
    })
  },

  async errors() {
    await using({}, async (client) => {
      for (const [query, code] of [['SELECT 1/0', '22012'], ['SELEC', '42601'], ['TABLE nowhere', '42P01']]) {
        await assert.rejects(client.query(query), { code })
      }
      assert.equal(await value(client, 'SELECT 1'), 1)
    })
    await assert.rejects(using({ password: 'wrong' }, () => {}), { code: '28P01' })
  },

  async cancel() {
    await using({ application_name: 'node-cancel' }, (slow) => using({}, async (witness) => {
      const running = () => value(witness, "SELECT count(*)::int FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%' AND application_name = 'node-cancel'")
      const query = new Query('SELECT pg_sleep(600)')
      slow.query(query)
      const failed = once(query, 'error').catch((error) => [error])
      await until('the query to run', async () => (await running()) === 1)
      new Client().cancel(slow, query)
      const [error] = await failed
      assert.equal(error.code, '57014')
      assert.equal(await running(), 0)
      assert.equal(await value(slow, 'SELECT 1'), 1)
    }))
  },

  async notifications() {
    await using({}, (listener) => using({ ssl: TLS }, async (sender) => {
      await listener.query('LISTEN node_news')
      for (const payload of ['one', 'ü'.repeat(3000)]) {
        const heard = once(listener, 'notification')
        await sender.query("SELECT pg_notify('node_news', $1)", [payload])
        const [notice] = await heard
        assert.deepEqual([notice.channel, notice.payload, notice.processId], ['node_news', payload, sender.processID])
      }
    }))
  },

  async copy() {
    await using({ ssl: TLS }, async (client) => {
      await client.query('CREATE TABLE node_copy (id int, text text)')
      const lines = Array.from({ length: 100_000 }, (_, number) => `${number}\trow ${number} ü\n`)
      await pipeline(Readable.from(lines), client.query(from('COPY node_copy FROM STDIN')))
      const chunks = []
      for await (const chunk of client.query(to('COPY (SELECT * FROM node_copy ORDER BY id) TO STDOUT'))) chunks.push(chunk)
      assert(Buffer.concat(chunks).equals(Buffer.from(lines.join(''))))
    })
  },

  async 'large values'() {
    const large = randomBytes(20 * 1024 * 1024)
    for (const ssl of [TLS, false]) {
      await using({ ssl }, async (client) => assert(large.equals(await value(client, 'SELECT $1::bytea', [large]))))
    }
  },

  async cursors() {
    await using({}, async (client) => {
      const cursor = client.query(new Cursor("SELECT n, repeat('x', 100) FROM generate_series(1, 200000) AS n"))
      let total = 0
      for (let rows; (rows = await cursor.read(1000)).length > 0;) {
        for (const row of rows) total += row.n
      }
      assert.equal(total, 20_000_100_000)
      await cursor.close()
      const left = client.query(new Cursor('SELECT generate_series(1, 1000000)'))
      assert.equal((await left.read(3)).length, 3)
      await left.close()
      assert.equal(await value(client, 'SELECT 1'), 1)
    })
  },

  async pipelines() {
    const numbers = Array.from({ length: 1000 }, (_, number) => number)
    const twice = numbers.map((number) => number * 2)
    await using({ pipeline: true }, async (client) => {
      const sent = numbers.map((number) => value(client, 'SELECT $1::int * 2', [number]))
      const broken = assert.rejects(client.query('SELECT 1/$1::int', [0]), { code: '22012' })
      assert.deepEqual(await Promise.all(sent), twice)
      await broken
      assert.equal(await value(client, 'SELECT 1'), 1)
    })
    const pool = new Pool({ max: 10 })
    assert.deepEqual(await Promise.all(numbers.map((number) => value(pool, 'SELECT $1::int * 2', [number]))), twice)
    await pool.end()
  },

  async 'start up options'() {
    const config = { application_name: 'my app', options: '-c statement_timeout=54321 -c work_mem=7MB' }
    await using(config, async (client) => {
      assert.equal(await value(client, 'SHOW statement_timeout'), '54321ms')
      assert.equal(await value(client, 'SHOW work_mem'), '7MB')
      assert.equal(await value(client, 'SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()'), 'my app')
    })
    await using({ database: 'template1' }, async (client) => assert.equal(await value(client, 'SELECT current_database()'), 'template1'))
  },
}

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    await check()
    console.log(name)
  }
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
