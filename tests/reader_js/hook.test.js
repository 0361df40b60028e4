/** The hook on a small stand-in for React: state, refs, and effects that run after a render. */

import assert from "node:assert/strict";
import { registerHooks } from "node:module";
import { mock, test } from "node:test";
import { fakeApi, record } from "./fake_api.js";

const react = {
  useState(initial) {
    const [cells, i] = next(() => initial);
    const set = (value) => {
      cells[i] = typeof value === "function" ? value(cells[i]) : value;
    };
    return [cells[i], set];
  },
  useRef() {
    const [cells, i] = next(() => ({}));
    return cells[i];
  },
  useEffect(effect, dependencies) {
    const [cells, i] = next(() => null);
    if (JSON.stringify(cells[i]?.dependencies) === JSON.stringify(dependencies)) return;
    cells[i]?.stop();
    cells[i] = { dependencies, stop: effect() };
  },
};
let component;

function next(initial) {
  const { cells } = component;
  const i = component.at++;
  if (!(i in cells)) cells[i] = initial();
  return [cells, i];
}

globalThis.react = react;
registerHooks({
  resolve: (specifier, context, otherwise) =>
    specifier === "react"
      ? {
          url: "data:text/javascript,export const {useState, useRef, useEffect} = globalThis.react",
          shortCircuit: true,
        }
      : otherwise(specifier, context),
});
const { useTimeline } = await import("../../reader-js/react.js");

const STREAMS = { asOf: { items: "2026-11-22T10:21:00Z", tasks: null }, completeAfter: 120 };
const minute = record("items#2026-11-22T10:07:00Z#1", true, [3]);
const settled = () => new Promise((done) => setImmediate(() => setImmediate(done)));

function mounted(query) {
  const cells = [];
  const render = (recordType) => {
    component = { cells, at: 0 };
    return useTimeline(query, (now) => ({
      accountId: "acct-1",
      recordType,
      start: now - 3_600_000,
      end: now,
      step: { minutes: 60 },
      now,
    }));
  };
  return { render, unmount: () => cells.forEach((cell) => cell?.stop?.()) };
}

test("it reads at once, polls, reads again when something else is asked, and stops", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-22T10:21:30Z") });
  const api = fakeApi([minute], STREAMS);
  const { render, unmount } = mounted((...given) => api.query(...given));
  assert.deepEqual(render("items"), { points: [], error: null, loading: true });
  await settled();
  assert.equal(render("items").points.at(-1).count, 3);
  assert.equal(api.requests.length, 1);
  mock.timers.tick(60_000);
  await settled();
  assert.equal(api.requests.length, 2);
  assert.equal(render("items").points.at(-1).end.toISOString(), "2026-11-22T10:23:00.000Z");
  render("tasks");
  await settled();
  assert.equal(render("tasks").points.at(-1).count, 0);
  assert.equal(api.requests.length, 3);
  unmount();
  mock.timers.tick(600_000);
  await settled();
  assert.equal(api.requests.length, 3);
  mock.timers.reset();
});

test("after an error the last points stay beside it, and it reads again", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.parse("2026-11-22T10:21:30Z") });
  const api = fakeApi([minute], STREAMS);
  let error = null;
  const query = (...given) => (error ? Promise.reject(error) : api.query(...given));
  const { render, unmount } = mounted(query);
  render("items");
  await settled();
  error = new Error("offline");
  for (const expected of [error, null]) {
    mock.timers.tick(60_000);
    await settled();
    assert.equal(render("items").error, expected);
    assert.equal(render("items").points.at(-1).count, 3);
    error = null;
  }
  unmount();
  mock.timers.reset();
});
