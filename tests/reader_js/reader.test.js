/** Rules of the reader that no vector has: requests, limits, as of, refusals, wrong arguments. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as reader from "../../reader-js/index.js";
import { fakeApi, record } from "./fake_api.js";

const { breakdowns, completeUntil, cover, summarize, timeline } = reader;
const NOW = Date.parse("2026-11-22T10:21:30Z");
const AS_OF = "2026-11-22T10:21:00Z";
const STREAMS = {
  asOf: { items: AS_OF, tasks: AS_OF, scoreResultsByScore: AS_OF },
  completeAfter: 120,
};
const HOUR = 3_600_000;
const of = (hours, more) => ({
  accountId: "acct-1",
  recordType: "items",
  now: NOW,
  start: new Date(NOW - hours * HOUR),
  end: new Date(NOW),
  ...more,
});
const counted = (size, time, count, complete = true, metadata = null) =>
  record(`items#2026-11-22T${time}:00Z#${size}`, complete, [count, 0, 0, 0, 0, 0], metadata);
const hour = counted(60, "08:00", 7);
const fieldsOf = ({ document }) => document.match(/AggregatedMetrics\(/g).length;

test("every exported function is declared in the types", () => {
  const types = readFileSync(new URL("../../reader-js/index.d.ts", import.meta.url), "utf8");
  const declared = [...types.matchAll(/declare function (\w+)/g)].map(([, name]) => name);
  assert.deepEqual(declared.sort(), Object.keys(reader).sort());
});

test("every exported function is documented", () => {
  const page = readFileSync(new URL("../../docs/reading-javascript.md", import.meta.url), "utf8");
  for (const name of Object.keys(reader)) assert.match(page, new RegExp(`\\| \`${name}\\(`));
});

test("a cover is the fewest buckets that tile a range", () => {
  const tiles = cover(new Date("2026-11-22T09:58:00Z"), new Date("2026-11-22T11:21:00Z"));
  assert.deepEqual(
    tiles.map((tile) => tile.minutes),
    [1, 1, 60, 15, 5, 1],
  );
  assert.equal(tiles[2].start.toISOString(), "2026-11-22T10:00:00.000Z");
});

// ---- Requests ----

for (const [name, hours, step, number] of [
  ["a day by hours", 24, { minutes: 60 }, 1],
  ["a day by minutes", 24, { minutes: 1 }, 1],
  ["30 days by hours", 30 * 24, { minutes: 60 }, 4],
  ["30 days by days", 30 * 24, { days: 1 }, 4],
  ["a year by months", 365 * 24, "month", 64],
]) {
  test(`${name}: the documented number of requests`, async () => {
    const api = fakeApi([hour, counted(1, "08:03", 7)], STREAMS);
    const points = await timeline(api.query, of(hours, { step }));
    assert.equal(
      points.reduce((sum, point) => sum + point.count, 0),
      7,
    );
    assert.equal(api.requests.length, number);
    assert.equal(api.requests.filter(({ document }) => document.includes("asOf:")).length, 1);
  });
}

test("no request is larger than a firewall lets through", async () => {
  const api = fakeApi([hour], STREAMS);
  assert.equal((await summarize(api.query, of(30 * 24, { maxRequestBytes: 8000 }))).count, 7);
  for (const { document, variables } of api.requests) {
    assert.ok(Buffer.byteLength(JSON.stringify({ query: document, variables })) <= 8000);
  }
});

test("no request has more resolvers than the API allows", async () => {
  const api = fakeApi([hour], STREAMS);
  assert.equal((await summarize(api.query, of(30 * 24, { maxResolvers: 60 }))).count, 7);
  assert.ok(Math.max(...api.requests.map(fieldsOf)) <= 60);
});

test("an hour of several pages is read to its end", async () => {
  const others = Array.from({ length: 150 }, (_, i) =>
    record(`items#2026-11-22T10:#${i}`, true, [9]),
  );
  const minutes = ["10:07", "10:19"].map((time) => counted(1, time, 3, false));
  const { query } = fakeApi([...others, ...minutes], STREAMS);
  assert.equal((await summarize(query, of(1))).count, 6);
});

// ---- Sums ----

test("a rollup that outlives its minutes speaks for them", async () => {
  for (const complete of [true, false]) {
    const { query } = fakeApi([counted(60, "08:00", 7, complete)], STREAMS);
    const end = new Date(NOW - HOUR);
    const point = await summarize(query, of(6, { end }));
    assert.deepEqual([point.count, point.complete], [7, complete]);
  }
});

test("what a field cannot show comes from metadata, encoded once or twice", async () => {
  const text = JSON.stringify({ beyond: { count: "4000000000" } });
  for (const metadata of [text, JSON.stringify(text), JSON.parse(text)]) {
    const full = [
      counted(60, "08:00", 2147483647),
      counted(1, "08:03", 2147483647, true, metadata),
    ];
    const { count } = await summarize(fakeApi(full, STREAMS).query, of(6));
    assert.equal(count, 6147483647);
  }
});

test("a sum that a number cannot hold is an error, and not rounded", async () => {
  const metadata = JSON.stringify({ beyond: { count: "9007199254740993" } });
  const { query } = fakeApi([counted(1, "10:07", 0, true, metadata)], STREAMS);
  await assert.rejects(summarize(query, of(1)), /count is 9007199254740993, more than/);
});

test("metadata of other writers changes nothing", async () => {
  for (const metadata of ["no JSON", "[]", "null", '{"beyond": 5}', '{"beyond": {"count": "x"}}']) {
    const { query } = fakeApi([counted(1, "10:07", 5, true, metadata)], STREAMS);
    assert.equal((await summarize(query, of(1))).count, 5);
  }
});

test("a custom model's measures are read where the caller or the as-of record names them", async () => {
  const stored = [counted(1, "10:07", 5, true, '{"reviewed": 3}')];
  const { query } = fakeApi(stored, STREAMS);
  assert.equal((await summarize(query, of(1, { measures: ["reviewed"] }))).reviewed, 3);
  assert.equal((await summarize(query, of(1))).reviewed, undefined);
  const naming = fakeApi(stored, { ...STREAMS, measures: { items: ["reviewed", "errorCount"] } });
  for (const measures of [undefined, ["reviewed"]]) {
    const point = await summarize(naming.query, of(1, { measures }));
    assert.deepEqual([point.reviewed, point.errorCount], [3, 0]);
  }
});

// ---- As of ----

test("nothing is complete beyond as of", async () => {
  const { query } = fakeApi([], STREAMS);
  const [end, late] = ["2026-11-22T10:19:00Z", "2026-11-22T10:20:00Z"].map((at) => new Date(at));
  assert.deepEqual((await summarize(query, of(6, { end }))).asOf, new Date(AS_OF));
  assert.equal((await summarize(query, of(6, { end }))).complete, true);
  assert.equal((await summarize(query, of(6, { end: late }))).complete, false);
});

const unauthorized = { errorType: "Unauthorized", message: "Not Authorized", path: ["asOf"] };
const throttled = { errorType: "DynamoDB:ThrottlingException", message: "busy", path: ["b0"] };
const answers = {
  "a rejection with both": (data, errors) => Promise.reject({ data, errors }),
  "{data, errors}": async (data, errors) => ({ data, errors }),
};

for (const [name, answered] of Object.entries(answers)) {
  test(`an error of the as-of record alone costs only that: ${name}`, async () => {
    const api = fakeApi([hour], STREAMS);
    const query = async (...given) =>
      answered({ ...(await api.query(...given)), asOf: null }, [unauthorized]);
    const { count, complete, asOf } = await summarize(query, of(6));
    assert.deepEqual([count, complete, asOf, api.requests.length], [7, false, null, 1]);
  });

  test(`any other error fails the reading: ${name}`, async () => {
    const query = () => answered({ b0: null }, [throttled]);
    await assert.rejects(summarize(query, of(6)), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /^busy \(items#2026-11-22T04:22:00Z#1\)$/);
      assert.deepEqual(error.errors, [throttled]);
      return true;
    });
  });
}

function refusing(refusal) {
  const api = fakeApi([hour], STREAMS);
  const query = async (document, variables) => {
    const answer = await api.query(document, variables);
    if (document.includes("asOf:")) throw refusal;
    return answer;
  };
  return { api, query };
}

test("a refusal of the whole request is tried once more without, and remembered", async () => {
  const { api, query } = refusing({ data: null, errors: [{ ...unauthorized, path: null }] });
  for (const expected of [2, 3]) {
    const { count, asOf } = await summarize(query, of(6));
    assert.deepEqual([count, asOf, api.requests.length], [7, null, expected]);
  }
});

for (const refusal of [new TypeError("fetch failed"), { errors: [throttled] }]) {
  test(`what says nothing about the as-of record is not remembered: ${refusal}`, async () => {
    const { api, query } = refusing(refusal);
    for (const expected of [2, 4]) {
      await summarize(query, of(6));
      assert.equal(api.requests.length, expected);
    }
  });
}

for (const answer of [undefined, null, {}, { data: null }, { data: { data: { b0: null } } }]) {
  test(`an answer without what was asked is no zero: ${JSON.stringify(answer)}`, async () => {
    const read = summarize(async () => answer, of(6));
    await assert.rejects(read, /lacks what was asked: query resolves to the data/);
  });
}

test("an error that the query function throws is passed on", async () => {
  const error = new Error("offline");
  await assert.rejects(
    summarize(() => {
      throw error;
    }, of(6)),
    error,
  );
});

test("complete until is the least of as of and the first open minute", async () => {
  const until = async (records, streams) =>
    (
      await completeUntil(fakeApi(records, streams).query, { accountId: "acct-1", now: NOW })
    )?.toISOString();
  assert.equal(await until([hour], STREAMS), "2026-11-22T10:19:00.000Z");
  const open = [
    counted(60, "09:00", 1, false),
    counted(1, "09:31", 1, false),
    counted(1, "10:02", 1, false),
  ];
  assert.equal(await until(open, STREAMS), "2026-11-22T09:31:00.000Z");
  assert.equal(await until([hour], { ...STREAMS, asOf: { items: AS_OF, tasks: null } }), undefined);
  assert.equal(await until([hour], null), undefined);
});

test("complete until is not known to who may not ask, and an error to who cannot", async () => {
  const options = { accountId: "acct-1", now: NOW };
  const refusal = { data: null, errors: [{ ...unauthorized, path: null }] };
  assert.equal(await completeUntil(() => Promise.reject(refusal), options), null);
  const offline = new TypeError("fetch failed");
  await assert.rejects(
    completeUntil(() => Promise.reject(offline), options),
    offline,
  );
});

test("what ends by then is complete", async () => {
  const { query } = fakeApi([counted(1, "10:18", 1)], STREAMS);
  const end = await completeUntil(query, { accountId: "acct-1", recordTypes: ["items"], now: NOW });
  assert.equal((await summarize(query, of(6, { end }))).complete, true);
});

test("complete until refuses a record type that nothing counts by name", async () => {
  const { query } = fakeApi([], STREAMS);
  await assert.rejects(
    completeUntil(query, { accountId: "acct-1", recordTypes: ["item"] }),
    /nothing counts the record type item; counted are: items, scoreR.*, tasks/,
  );
});

// ---- Breakdowns ----

test("breakdowns are found by their keys, a request each", async () => {
  const keys = [
    "a#2026-11-22T08:00:00Z#60",
    "a#2026-11-22T09:00:00Z#60",
    "b c#2026-11-22T08:00:00Z#60",
  ];
  const cleared = {
    ...record("scoreResultsByScore#b#2026-11-22T08:00:00Z#60", true, [1]),
    scoreId: null,
  };
  const stored = keys.map((key) => record(`scoreResultsByScore#${key}`, true, [1]));
  const api = fakeApi([...stored, cleared, hour], STREAMS);
  const found = await breakdowns(api.query, {
    accountId: "acct-1",
    recordType: "scoreResultsByScore",
  });
  assert.deepEqual(
    found.map((each) => each.scoreId),
    ["a", "b c"],
  );
  assert.equal(api.requests.length, 4);
  const options = of(6, found[1]);
  assert.equal((await summarize(api.query, options)).count, 1);
});

test("an id with a separator, or one like a time, is no other id's part", async () => {
  const ids = {
    q: "q",
    "q#tone": "q%23tone",
    "100%": "100%25",
    "2026-11-22T08:": "%32026-11-22T08:",
  };
  const stored = Object.entries(ids).map(([scoreId, escaped], i) => ({
    ...record(`scoreResultsByScore#${escaped}#2026-11-22T08:00:00Z#60`, true, [i + 1]),
    scoreId,
  }));
  const { query } = fakeApi(stored, STREAMS);
  const asked = { accountId: "acct-1", recordType: "scoreResultsByScore" };
  const found = await breakdowns(query, asked);
  assert.deepEqual(found.map((each) => each.scoreId).sort(), Object.keys(ids).sort());
  for (const [i, scoreId] of Object.keys(ids).entries()) {
    assert.equal((await summarize(query, of(6, { ...asked, scoreId }))).count, i + 1);
  }
});

test("a record type without breakdowns has none", async () => {
  const { query } = fakeApi([hour], STREAMS);
  assert.deepEqual(await breakdowns(query, { accountId: "acct-1", recordType: "items" }), []);
});

for (const [recordType, ids, message] of [
  ["scoreResultsByScore", {}, /needs a scoreId: breakdowns\(\) lists/],
  ["scoreResultsByScorecard", { scoreId: "s" }, /needs a scorecardId and no scoreId/],
  ["callsByTeam", {}, /needs a scorecardId and no scoreId/],
  ["callsByDesk", { scorecardId: "team" }, /needs a scoreId/],
]) {
  test(`${recordType} without its ids is refused, and no zero`, async () => {
    const streams = {
      asOf: { [recordType]: AS_OF },
      breakdowns: { callsByTeam: ["teamId"], callsByDesk: ["teamId", "deskId"] },
    };
    const { query } = fakeApi([], streams);
    await assert.rejects(summarize(query, of(6, { recordType, ...ids })), message);
    const scopes = [{ scorecardId: "team" }, { scorecardId: "team", scoreId: "desk" }];
    const read = scopes.map((scope) => summarize(query, of(6, { recordType, ...scope })));
    const found = await Promise.allSettled(read);
    assert.equal(found.filter(({ value }) => value?.count === 0).length, 1);
  });
}

// ---- Wrong arguments ----

for (const [wrong, message] of [
  [{ start: "2026-11-22" }, /valid Dates \(or milliseconds\), not 2026-11-22/],
  [{ end: new Date("no") }, /valid Dates/],
  [{ start: undefined }, /valid Dates/],
  [{ end: new Date(0) }, /end of the range is before its start/],
  [{ accountId: "" }, /accountId is missing/],
  [{ recordType: undefined }, /recordType is missing/],
  [{ step: 60 }, /60 is no step/],
  [{ step: "day" }, /"day" is no step/],
  [{ step: { minutes: 1.5 } }, /is no step/],
  [{ step: { days: 32 } }, /is no step/],
  [{ weekStart: "Sunday" }, /"monday" or "sunday", not Sunday/],
  [{ start: 0, step: { minutes: 1 } }, /more than 50000 points/],
  [{ timeZone: "Europe/Nowhere" }, /Nowhere/],
]) {
  test(`${JSON.stringify(wrong)} is refused before anything is asked`, async () => {
    const api = fakeApi([], STREAMS);
    await assert.rejects(timeline(api.query, of(6, { step: { days: 1 }, ...wrong })), message);
    assert.equal(api.requests.length, 0);
  });
}
