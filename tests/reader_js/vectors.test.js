/** Asks and their points (test_vectors.py says how); the Python reader answers the same ones. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { summarize, timeline } from "../../reader-js/index.js";
import { fakeApi, record } from "./fake_api.js";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const MINUTE = 60_000;

for (const world of vectors.worlds) {
  const streams = world.asOf && { asOf: world.asOf, completeAfter: world.completeAfter };
  const records = world.records.map((each) => record(...each));
  for (const { points, ...ask } of world.asks) {
    test(`${world.name}: ${Object.values(ask)
      .map((part) => JSON.stringify(part))
      .join(" ")}`, async () => {
      const options = {
        accountId: "acct-1",
        ...ask,
        start: new Date(ask.start),
        end: new Date(ask.end),
        now: Date.parse(world.now),
      };
      const { query } = fakeApi(records, streams);
      const read = async () =>
        ask.step ? timeline(query, options) : [await summarize(query, options)];
      if (points === null)
        return assert.rejects(read, /nothing counts the record type item;.*tasks/);
      const asOf = world.asOf?.[ask.recordType];
      const expected = points.map(([start, end, sums, complete]) => ({
        start: new Date(start * MINUTE),
        end: new Date(end * MINUTE),
        ...Object.fromEntries(sums.map((sum, i) => [vectors.measures[i], sum])),
        complete,
        asOf: asOf ? new Date(asOf) : null,
      }));
      assert.deepEqual(await read(), expected);
    });
  }
}
