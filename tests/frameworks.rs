//! What applications stand on, as they use a server: a cache framework, a job queue, other languages' clients.
//!
//! Each is used where it is on the machine (`pip install django-redis 'rq<1.12'`, `npm install ioredis redis bullmq` in a
//! folder that `NODE_PATH` names); without it its test says so and passes. Job queues that need scripts or streams
//! (Celery's locks, later versions of RQ, the jobs of BullMQ) do not work yet.

mod harness;

use harness::client::info_number;
use harness::server::{Launch, Server};
use harness::{output_of, skip};
use std::process::{Command, Stdio};

/// Runs a program that asks things of `server` and says `done`, if what it stands on is there.
fn run(interpreter: &str, option: &str, (check, program): (&str, &str), server: &Server) {
    let there = output_of(Command::new(interpreter).args([option, check]).stdin(Stdio::null()));
    if !there.is_ok_and(|output| output.status.success()) {
        return skip(&format!("{interpreter} has not what this needs: {check}"));
    }
    let port = server.port().to_string();
    let mut command = Command::new(interpreter);
    let output = output_of(command.args([option, program, &port]).stdin(Stdio::null()));
    let output = output.expect("run it");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.ends_with("done\n"), "{text}{errors}");
    let commands = info_number(&mut server.client(), "stats", "total_commands_processed");
    assert!(commands > 20, "it asked for next to nothing: {commands}");
}

fn start() -> Server {
    Launch::shards(4).start()
}

#[test]
fn django_caches_in_it() {
    let program = r#"
import sys
from django.conf import settings
location = f"redis://127.0.0.1:{sys.argv[1]}/1"
settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}})
from django.core.cache import cache
cache.set("a", {"b": [1, 2]}, timeout=30)
assert cache.get("a") == {"b": [1, 2]}
assert 0 < cache.ttl("a") <= 30
cache.set_many({"x": 1, "y": 2})
assert cache.get_many(["x", "y", "z"]) == {"x": 1, "y": 2}
assert cache.add("x", 5) is False and cache.add("w", 5) is True
assert sorted(cache.keys("*")) == ["a", "w", "x", "y"]
assert sorted(cache.iter_keys("*")) == ["a", "w", "x", "y"]
assert cache.persist("a") and cache.ttl("a") is None
assert cache.expire("a", timeout=9) and cache.pttl("a") <= 9000
assert cache.touch("a", 50)
assert cache.delete_many(["x", "y"]) == 2
assert cache.delete_pattern("w*") == 1
cache.clear()
assert cache.get("a") is None
print("done")
"#;
    run("python3", "-c", ("import django_redis", program), &start());
}

#[test]
fn rq_queues_jobs_in_it() {
    let check = "import rq; assert tuple(map(int, rq.VERSION.split('.')[:2])) < (1, 12)";
    let program = r#"
import sys, operator
from redis import Redis
from rq import Queue, SimpleWorker
connection = Redis(port=int(sys.argv[1]))
queue = Queue(connection=connection)
jobs = [queue.enqueue(operator.mul, n, 3) for n in range(10)]
dependent = queue.enqueue(operator.add, 1, 2, depends_on=jobs)
bad = queue.enqueue(operator.truediv, 1, 0)
SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
for job in jobs + [dependent, bad]:
    job.refresh()
assert [job.result for job in jobs] == [3 * n for n in range(10)]
assert dependent.result == 3
assert bad.get_status() == "failed"
assert len(queue) == 0
print("done")
"#;
    run("python3", "-c", (check, program), &start());
}

#[test]
fn ioredis_talks_to_it() {
    let program = r"
const Redis = require('ioredis');
const assert = require('assert');
(async () => {
  const port = +process.argv[1];
  const [r, s, b] = [new Redis(port), new Redis(port), new Redis(port)];
  await r.set('a', '1');
  const replies = await r.multi().incr('a').hset('h', 'f', 'v').zadd('z', 1, 'm').lpush('l', 'x').exec();
  assert.deepStrictEqual(replies.map(([error, value]) => [error, value]), [[null, 2], [null, 1], [null, 1], [null, 1]]);
  const waiting = b.blpop('q', 0);
  await r.rpush('q', 'hello');
  assert.deepStrictEqual(await waiting, ['q', 'hello']);
  const heard = new Promise((resolve) => s.on('message', (channel, text) => resolve([channel, text])));
  await s.subscribe('channel');
  await r.publish('channel', 'hi');
  assert.deepStrictEqual(await heard, ['channel', 'hi']);
  for (let n = 0; n < 100; n++) await r.pipeline().set(`k${n}`, n).expire(`k${n}`, 100).exec();
  let keys = 0;
  for await (const some of r.scanStream({ match: 'k*', count: 10 })) keys += some.length;
  assert.strictEqual(keys, 100);
  [r, s, b].forEach((client) => client.disconnect());
  console.log('done');
})();
";
    run("node", "-e", ("require('ioredis')", program), &start());
}

#[test]
fn node_redis_talks_to_it() {
    let program = r"
const { createClient } = require('redis');
const assert = require('assert');
(async () => {
  const client = createClient({ url: `redis://127.0.0.1:${process.argv[1]}`, RESP: 3 });
  await client.connect();
  await client.hSet('h', { n: '1', m: '2' });
  assert.deepStrictEqual({ ...(await client.hGetAll('h')) }, { n: '1', m: '2' });
  await client.zAdd('z', [{ score: 1.5, value: 'a' }]);
  assert.deepStrictEqual((await client.zRangeWithScores('z', 0, -1)).map((e) => [e.value, e.score]), [['a', 1.5]]);
  assert.deepStrictEqual([...(await client.multi().set('k', 'v').get('k').exec())], ['OK', 'v']);
  for (let n = 0; n < 20; n++) await client.incr('n');
  const other = client.duplicate();
  await other.connect();
  const heard = new Promise((resolve) => other.subscribe('c', resolve).then(() => client.publish('c', 'hi')));
  assert.strictEqual(await heard, 'hi');
  await Promise.all([other.close(), client.close()]);
  console.log('done');
})();
";
    run("node", "-e", ("require('redis')", program), &start());
}

/// What BullMQ does without scripts: connections, settings, logs, jobs that are there.
#[test]
fn bullmq_keeps_its_settings_in_it() {
    let program = r"
const { Queue } = require('bullmq');
const Redis = require('ioredis');
const assert = require('assert');
(async () => {
  const port = +process.argv[1];
  const redis = new Redis(port);
  const queue = new Queue('work', { connection: { port } });
  await queue.waitUntilReady();
  for (let n = 1; n <= 10; n++) {
    await queue.setGlobalConcurrency(n);
    assert.strictEqual(await queue.getGlobalConcurrency(), n);
  }
  await queue.setGlobalRateLimit(5, 1000);
  assert.deepStrictEqual(await queue.getGlobalRateLimit(), { max: 5, duration: 1000 });
  const meta = await queue.getMeta();
  assert.deepStrictEqual([meta.concurrency, meta.max, meta.paused], [10, 5, false]);
  await queue.removeGlobalConcurrency();
  assert.strictEqual(await queue.getGlobalConcurrency(), null);
  assert.strictEqual(await queue.isPaused(), false);
  await redis.hset(queue.toKey('meta'), 'paused', 1);
  assert.strictEqual(await queue.isPaused(), true);
  await redis.hset(queue.toKey('7'), { name: 'paint', data: JSON.stringify({ x: 1 }), opts: '{}', timestamp: 5, atm: 2 });
  const job = await queue.getJob('7');
  assert.deepStrictEqual([job.id, job.name, job.data, job.attemptsMade], ['7', 'paint', { x: 1 }, 2]);
  assert.strictEqual(await queue.getJob('8'), undefined);
  await redis.rpush(queue.toKey('7') + ':logs', 'one', 'two', 'three');
  assert.deepStrictEqual(await queue.getJobLogs('7', 0, 1), { logs: ['one', 'two'], count: 3 });
  assert.strictEqual(await queue.getWorkersCount(), 0);
  await queue.close();
  redis.disconnect();
  console.log('done');
})();
";
    run("node", "-e", ("require('bullmq'), require('ioredis')", program), &start());
}
