/**
 * Reads AggregatedMetrics: every minute of a range once, from the fewest buckets.
 * index.d.ts documents what is exported, docs/reading-javascript.md the rules and the traps.
 */
const SIZES = [60, 15, 5, 1];
const MINUTE = 60_000;
const DAY = 1440;
const MEMORY = 25 * 60; // minutes; a stream keeps its records for 24 hours
const INT_MAX = 2_147_483_647n; // a field that has this number may hide more
const MOST_POINTS = 50_000;
const CALENDAR = { week: 7 * DAY, month: 28 * DAY }; // the fewest minutes
const LIST_FROM = 10; // from so many buckets of one hour on, the whole hour is listed
const RECENT = 60; // minutes around now in which a bucket may be on its way: its hour is listed
const LIST_WEIGHT = 5; // an hour has up to 77 buckets: 40 hours a request
const PARALLEL = 6;
const FEEDBACK = ["changedCount", "unchangedCount", "invalidCount"];
const SHOWN = "count cost decisionCount externalAiApiCount cachedAiApiCount errorCount";
const FIELDS = SHOWN.split(" ");
const NO_DATA = "the answer lacks what was asked: query resolves to the data, or {data, errors}";
const BREAKDOWN = /By(Scorecard|Score)$/;
const AS_OF =
  'asOf: getAggregatedMetrics(accountId: "_streams", ' +
  'compositeKey: "_streams#1970-01-01T00:00:00Z#60") { metadata }';
const BUCKET = `fragment b on AggregatedMetrics { compositeKey ${SHOWN} metadata complete }`;
const FIND =
  "query FindBreakdown($a: String!, $k: [String]) { found: listAggregatedMetrics(accountId: $a, " +
  "compositeKey: {between: $k}, limit: 1) { items { compositeKey scorecardId scoreId } } }";

export function cover(start, end) {
  return [...tiles(...minutesOf(start, end))].map((tile) => ({
    start: new Date(tile.start * MINUTE),
    minutes: tile.size,
  }));
}

export async function summarize(query, options) {
  const [summary] = await points(query, options, [minutesOf(options.start, options.end)]);
  return summary;
}

export async function timeline(query, options) {
  const bounds = edges(...minutesOf(options.start, options.end), options);
  return points(query, options, bounds.slice(1).map((end, i) => [bounds[i], end]));
}

export async function completeUntil(query, options) {
  const { accountId, recordTypes, now = Date.now(), ...limits } = options;
  const streams = await load(query, [], limits);
  if (!streams) return null;
  const counted = Object.keys(streams.asOf).filter((name) => !idsOf(name, streams));
  const every = (recordTypes ?? counted).map((recordType) => seriesOf({ accountId, recordType }));
  for (const series of every) refuseUncounted(series, streams);
  const asOf = every.map(({ recordType }) => streams.asOf[recordType]);
  if (!asOf.every(Boolean)) return null;
  const running = Math.floor(now / MINUTE);
  const hours = [...tiles(floor(running - MEMORY, 60), floor(running, 60) + 60)];
  await read(query, every, hours, { now, ...limits, skipAsOf: true });
  const minutes = every.flatMap(({ known }) => [...known.values()]).filter((b) => b.size === 1);
  const open = minutes.filter((bucket) => !bucket.complete).map((bucket) => bucket.start * MINUTE);
  const settled = asOf.map((at) => Date.parse(at) - streams.completeAfter * 1000);
  return new Date(floor(Math.min(...settled, ...open), MINUTE));
}

export async function breakdowns(query, { accountId, recordType, most = 500 }) {
  const found = [];
  for (let after = `${recordType}#`; found.length < most; ) {
    const variables = { a: accountId, k: [after, `${recordType}$`] }; // "$" follows "#"
    const [row] = (await run(query, FIND, variables)).found.items;
    const stem = row?.compositeKey.match(/^([^#]*#.+#)[^#]+#\d+$/s)?.[1];
    if (stem === undefined) break; // no record, or one that belongs to no breakdown
    const { scorecardId, scoreId } = row;
    const isNamed = stem === stemOf(recordType, scoreId || scorecardId); // its ids are its key's
    if (isNamed) found.push({ recordType, scorecardId, scoreId });
    after = `${stem}~`; // "~" sorts after every time: the other buckets of this stem are skipped
  }
  return found;
}

// ---- Ranges and calendars: half-open, in whole epoch minutes ----

function minutesOf(start, end) {
  for (const moment of [start, end]) {
    if (!(moment instanceof Date || typeof moment === "number") || !Number.isFinite(+moment)) {
      throw new TypeError(`start and end are valid Dates (or milliseconds), not ${moment}`);
    }
  }
  if (end < start) throw new RangeError("the end of the range is before its start");
  return [Math.ceil(start / MINUTE), Math.ceil(end / MINUTE)];
}

function* tiles(first, last) {
  while (first < last) {
    const size = SIZES.find((each) => first % each === 0 && first + each <= last);
    yield { start: first, size };
    first += size;
  }
}

function edges(first, last, { step, timeZone = "UTC", weekStart = "monday" }) {
  const length = CALENDAR[step] ?? step?.minutes ?? step?.days * DAY;
  if (!Number.isInteger(length) || length < 1 || length > 31 * DAY) {
    const steps = '{minutes: n} or {days: n} (whole, up to 31 days), "week" or "month"';
    throw new RangeError(`${JSON.stringify(step)} is no step: give ${steps}`);
  }
  if ((last - first) / length > MOST_POINTS) {
    throw new RangeError(`more than ${MOST_POINTS} points: choose a larger step`);
  }
  if (!["monday", "sunday"].includes(weekStart)) {
    throw new RangeError(`a week starts on "monday" or "sunday", not ${weekStart}`);
  }
  const found = [first];
  for (const edge of grid(first, step, length, timeZone, weekStart)) {
    if (edge >= last) break;
    if (edge > found.at(-1)) found.push(edge); // a date that the zone skipped is no point
  }
  return first === last ? [] : [...found, last];
}

/** Where points begin, from the midnight (week, month) before `first` on, without end. */
function* grid(first, step, length, timeZone, weekStart) {
  const local = new Date(clock(first, timeZone) * MINUTE);
  const [year, month, day] = [local.getUTCFullYear(), local.getUTCMonth(), local.getUTCDate()];
  const midnight = (m, d) => midnightOf(Date.UTC(year, m, d) / MINUTE, timeZone);
  if (step === "month") for (let m = month; ; m++) yield midnight(m, 1);
  const past = step === "week" ? (local.getUTCDay() + (weekStart === "monday" ? 6 : 0)) % 7 : 0;
  if (length % DAY === 0) for (let d = day - past; ; d += length / DAY) yield midnight(month, d);
  if (DAY % length) for (let at = midnight(month, day); ; at += length) yield at;
  for (let d = day; ; d++) {
    const end = midnight(month, d + 1);
    for (let at = midnight(month, d); at < end; at += length) yield at;
  }
}

/** The first minute at which a zone's clock shows a date's midnight, or jumps over it. */
function midnightOf(wall, timeZone) {
  const ahead = [wall - DAY, wall + DAY].map((near) => clock(near, timeZone) - near);
  let at = wall - Math.max(...ahead);
  while (clock(at, timeZone) < wall) at += 1;
  return at;
}

const clocks = new Map();

/** What a zone's clock shows at an epoch minute: the epoch minute at which UTC shows the same. */
function clock(minute, timeZone) {
  if (!clocks.has(timeZone)) {
    const date = { year: "numeric", month: "numeric", day: "numeric" };
    const time = { hour: "numeric", minute: "numeric", hourCycle: "h23" };
    clocks.set(timeZone, new Intl.DateTimeFormat("en-US", { timeZone, ...date, ...time }));
  }
  const shown = clocks.get(timeZone).format(minute * MINUTE).match(/\d+/g).map(Number);
  const [month, day, year, ...time] = shown;
  return Date.UTC(year, month - 1, day, ...time) / MINUTE;
}

const floor = (value, size) => Math.floor(value / size) * size;
const iso = (minute) => `${new Date(minute * MINUTE).toISOString().slice(0, 19)}Z`;

// ---- Sums: BigInts, because metadata keeps exactly what a 32-bit field cannot show ----

async function points(query, options, spans) {
  const series = seriesOf(options);
  const parts = spans.map((span) => [...tiles(...span)]);
  const streams = await read(query, [series], parts.flat(), options);
  refuseUncounted(series, streams);
  return spans.map((span, i) => summary(series, span, parts[i], streams));
}

function summary({ known, names, recordType }, [first, last], parts, streams) {
  const found = parts.map((tile) => exact(known, tile, names));
  const sums = total(names, found);
  const asOf = streams?.asOf[recordType] ? new Date(streams.asOf[recordType]) : null;
  const isSettled = asOf && last * MINUTE + streams.completeAfter * 1000 <= +asOf;
  return {
    start: new Date(first * MINUTE),
    end: new Date(last * MINUTE),
    ...Object.fromEntries(names.map((name, i) => [name, safe(name, sums[i])])),
    complete: Boolean(isSettled) && found.every((each) => each.complete),
    asOf,
  };
}

function safe(name, sum) {
  if (Number.isSafeInteger(Number(sum))) return Number(sum);
  throw new RangeError(`${name} is ${sum}, more than a number holds: read a shorter range`);
}

const total = (names, parts) =>
  names.map((_, i) => parts.reduce((sum, part) => sum + part.sums[i], 0n));
const place = ({ start, size }) => start * 100 + size;

function partsOf({ start, size }) {
  const smaller = SIZES[SIZES.indexOf(size) + 1] ?? Infinity;
  const at = (_, i) => ({ start: start + i * smaller, size: smaller });
  return Array.from({ length: size / smaller }, at);
}

/** What a tile's minutes add up to, from the largest buckets that can be trusted. */
function exact(known, tile, names) {
  const bucket = known.get(place(tile));
  if (bucket && tile.size > 1 && !needsParts(bucket)) return { ...bucket, isStored: true };
  const parts = partsOf(tile).map((part) => exact(known, part, names));
  const isStored = Boolean(bucket) || parts.some((part) => part.isStored);
  const isTrusted = bucket && (bucket.complete || !parts.some((part) => part.isStored));
  const below = total(names, parts); // of a rollup that stands alone its minutes were removed
  const larger = (own, i) => (own >= INT_MAX && below[i] > own ? below[i] : own);
  const sums = isTrusted ? bucket.sums.map(larger) : below;
  const complete = bucket ? bucket.complete : parts.every((part) => part.complete);
  return { sums, complete, isStored };
}

/** A rollup that is not complete may be behind its minutes; a full field may hide more. */
const needsParts = (bucket) =>
  bucket !== undefined && (!bucket.complete || bucket.sums.some((sum) => sum >= INT_MAX));

// ---- Reading: many buckets in a request ----

function seriesOf({ accountId, recordType, scorecardId, scoreId, measures }) {
  for (const [name, value] of Object.entries({ accountId, recordType })) {
    if (typeof value !== "string" || !value) throw new TypeError(`${name} is missing`);
  }
  const own = measures ?? (recordType.startsWith("feedbackItems") ? FEEDBACK : []);
  const stem = stemOf(recordType, scoreId || scorecardId);
  const names = [...FIELDS, ...own];
  return { accountId, recordType, scorecardId, scoreId, stem, names, known: new Map() };
}

/** How many ids a breakdown's series has: a scorecard's, or a score's too; otherwise 0. */
function idsOf(recordType, streams) {
  const [, by] = recordType.match(BREAKDOWN) ?? [];
  return streams?.breakdowns?.[recordType]?.length ?? ["Scorecard", "Score"].indexOf(by) + 1;
}

/** What a series' keys begin with; neither a separator nor a time can be read into an id. */
function stemOf(recordType, id) {
  const escape = (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  const escaped = id?.replace(/[#%]|^\d(?=\d{3}-\d\d-\d\dT\d\d:)/g, escape);
  return escaped ? `${recordType}#${escaped}#` : `${recordType}#`;
}

/** Refuse what has no buckets because of its names, and not because it is quiet. */
function refuseUncounted({ recordType, scorecardId, scoreId, known }, streams) {
  const ids = idsOf(recordType, streams);
  if ((ids > 1 && !scoreId) || (ids === 1 && (!scorecardId || scoreId))) {
    const needed = ids > 1 ? "a scoreId" : "a scorecardId and no scoreId";
    throw new TypeError(`${recordType} needs ${needed}: breakdowns() lists what is stored`);
  }
  if (!streams || Object.hasOwn(streams.asOf, recordType) || known.size) return;
  const counted = Object.keys(streams.asOf).sort().join(", ");
  throw new RangeError(`nothing counts the record type ${recordType}; counted are: ${counted}`);
}

/** Read tiles of each series, then the parts that they need; returns the as-of record. */
async function read(query, every, wanted, { now = Date.now(), ...limits }) {
  const running = Math.floor(now / MINUTE);
  const byHour = new Map(wanted.map((tile) => [floor(tile.start, 60), []]));
  for (const tile of wanted) byHour.get(floor(tile.start, 60)).push(tile);
  const hours = [...byHour];
  const isWhole = ([hour, parts]) =>
    parts.length >= LIST_FROM || (hour - RECENT <= running && running < hour + 60 + RECENT);
  const asks = hours.flatMap((hour) => (isWhole(hour) ? [{ start: hour[0] }] : hour[1]));
  const left = hours.filter((hour) => !isWhole(hour));
  const asksOf = (series, some) => some.map((ask) => ({ series, ...ask }));
  const streams = await load(query, every.flatMap((series) => asksOf(series, asks)), limits);
  const finer = every.flatMap((series) => {
    const isUnsure = (tile) => tile.size > 1 && needsParts(series.known.get(place(tile)));
    const unsure = left.filter(([, parts]) => parts.some(isUnsure));
    return asksOf(series, unsure.map(([start]) => ({ start })));
  });
  await load(query, finer, { ...limits, skipAsOf: true });
  return streams;
}

/** Carry out asks (a bucket each, or without a size an hour); the first request asks as of when. */
async function load(query, asks, { skipAsOf, ...limits }) {
  const parts = split(asks, limits);
  const streams = skipAsOf ? null : await send(query, parts.shift());
  while (parts.length) {
    await Promise.all(parts.splice(0, PARALLEL).map((part) => send(query, part, true)));
  }
  return streams;
}

function split(asks, limits) {
  const { maxResolvers = 200, maxRequestBytes = Infinity } = limits;
  const weight = asks.reduce((sum, { size }) => sum + (size ? 1 : LIST_WEIGHT), 1);
  const [document, variables] = documentOf(asks);
  const body = new TextEncoder().encode(JSON.stringify({ query: document, variables }));
  const isSmall = weight <= maxResolvers && body.length <= maxRequestBytes;
  if (isSmall || asks.length < 2) return [asks];
  const half = Math.ceil(asks.length / 2);
  return [asks.slice(0, half), asks.slice(half)].flatMap((part) => split(part, limits));
}

function documentOf(asks, skipAsOf = false) {
  if (!asks.length) return [`query ReadAsOf { ${AS_OF} }`, {}];
  const variables = { a: asks[0].series.accountId };
  const declared = asks.map(({ size }, i) => `$k${i}: String!${size ? "" : `, $t${i}: String`}`);
  const fields = asks.map(({ series, start, size, token }, i) => {
    variables[`k${i}`] = series.stem + (size ? `${iso(start)}#${size}` : iso(start).slice(0, 14));
    if (token) variables[`t${i}`] = token;
    return size
      ? `b${i}: getAggregatedMetrics(accountId: $a, compositeKey: $k${i}) { ...b }`
      : `b${i}: listAggregatedMetrics(accountId: $a, compositeKey: {beginsWith: $k${i}}, ` +
          `limit: 100, nextToken: $t${i}) { items { ...b } nextToken }`;
  });
  const body = (skipAsOf ? fields : [AS_OF, ...fields]).join("\n");
  const head = `query ReadBuckets($a: String!, ${declared.join(", ")})`;
  return [`${head} {\n${body}\n}\n${BUCKET}`, variables];
}

/** Query functions whose API refuses a whole request that asks for the as-of record. */
const refusing = new WeakSet();

/** Send asks and keep the buckets that are found; returns the as-of record, where it was read. */
async function send(query, asks, skipAsOf = refusing.has(query)) {
  if (skipAsOf && !asks.length) return null;
  let data;
  try {
    data = await run(query, ...documentOf(asks, skipAsOf));
  } catch (error) {
    if (skipAsOf || !(asks.length || isRefusal(error))) throw error;
    await send(query, asks, true);
    if (isRefusal(error)) refusing.add(query);
    return null;
  }
  const { asOf, completeAfter = 0, ...custom } = decoded(data.asOf?.metadata);
  const more = asks.flatMap((ask, i) => {
    learn(ask.series, custom.measures);
    const found = data[`b${i}`];
    if (found === undefined || (found === null && !ask.size)) throw new TypeError(NO_DATA);
    const { items = [found], nextToken } = found ?? {};
    for (const row of items) keep(ask.series, row);
    return nextToken ? [{ ...ask, token: nextToken }] : [];
  });
  await send(query, more, true);
  return asOf ? { asOf, completeAfter, ...custom } : null;
}

/** The first answer names the extra measures of custom models. */
function learn({ names, recordType }, measures) {
  names.push(...(measures?.[recordType] ?? []).filter((name) => !names.includes(name)));
}

/** Keep a bucket in its place; a record with a key of another form is another writer's. */
function keep({ known, names, stem }, row) {
  const [time, minutes] = row?.compositeKey.slice(stem.length).split("#") ?? [];
  const [start, size] = [Date.parse(time) / MINUTE, Number(minutes)];
  if (Number.isNaN(start) || row.compositeKey !== `${stem}${iso(start)}#${size}`) return;
  const metadata = decoded(row.metadata);
  const shown = (name) => (FIELDS.includes(name) ? row[name] : metadata[name]);
  const exactly = (name) => whole(shown(name)) + whole(metadata.beyond?.[name]);
  const sums = names.map(exactly).map((sum) => (sum > 0n ? sum : 0n)); // more removals than rows
  known.set(place({ start, size }), { start, size, sums, complete: row.complete });
}

/** AWSJSON (a text, sometimes encoded twice) as an object; anything else is an empty one. */
function decoded(given) {
  const parsed = (value) => (typeof value === "string" ? JSON.parse(value) : value);
  return attempt(() => Object(parsed(parsed(given)) ?? {}), {});
}

const whole = (value) => attempt(() => BigInt(value ?? 0), 0n);

function attempt(work, otherwise) {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

/**
 * The data of an answer: data itself, {data, errors}, or a rejection that carries both. Errors of
 * the as-of record alone cost only that; any other error fails the reading.
 */
async function run(query, document, variables) {
  const answered = async () => ({ answer: await query(document, variables) });
  const { answer, thrown } = await answered().catch((error) => ({ answer: error, thrown: error }));
  const errors = errorsOf(answer);
  const isPlain = !thrown && answer && !("data" in answer);
  const data = isPlain ? answer : answer?.data;
  const isRead = data && errors.every((error) => error.path?.[0] === "asOf");
  if (isRead && (!thrown || errors.length)) return data;
  if (thrown instanceof Error) throw thrown;
  const keyOf = ({ path }) => variables[`k${String(path?.[0]).slice(1)}`] ?? "the request";
  const named = errors.map((error) => `${error.message} (${keyOf(error)})`);
  const message = named.join("; ") || NO_DATA;
  throw Object.assign(new Error(message, { cause: thrown }), { errors });
}

const errorsOf = (answer) => answer?.errors ?? answer?.graphQLErrors ?? [];

/** Whether the API has answered that it does not allow a request, and not that it is busy. */
function isRefusal(error) {
  const isBusy = (each) => /throttl|rate exceeded/i.test(`${each.errorType} ${each.message}`);
  return errorsOf(error).length > 0 && !errorsOf(error).some(isBusy);
}
