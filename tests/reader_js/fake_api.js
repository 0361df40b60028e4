/** An API in memory: answers the reader's documents from records by composite key. */

const LIMIT = 100;

export function fakeApi(records, streams) {
  const api = { requests: [], query };
  const sorted = [...records].sort((a, b) => (a.compositeKey < b.compositeKey ? -1 : 1));

  function query(document, variables) {
    api.requests.push({ document, variables });
    const data = {};
    for (const [, alias, field, given] of document.matchAll(/(\w+): (\w+)\((.*?)\) \{/g)) {
      const value = (name) => variables[given.match(new RegExp(`${name}: \\$(\\w+)`))?.[1]];
      if (alias === "asOf") data.asOf = streams && { metadata: JSON.stringify(streams) };
      else if (field === "getAggregatedMetrics") data[alias] = one(value("compositeKey"));
      else data[alias] = page(value("beginsWith"), value("nextToken"), value("between"), given);
    }
    return Promise.resolve(data);
  }

  const one = (key) => sorted.find((record) => record.compositeKey === key) ?? null;

  function page(prefix, token, between, given) {
    const limit = Number(given.match(/limit: (\d+)/)?.[1] ?? LIMIT);
    const isIn = ({ compositeKey: key }) =>
      prefix === undefined ? between[0] <= key && key <= between[1] : key.startsWith(prefix);
    const found = sorted.filter(isIn).slice(Number(token ?? 0));
    const nextToken = found.length >= limit ? `${Number(token ?? 0) + limit}` : null;
    return { items: found.slice(0, limit), nextToken };
  }

  return api;
}

/** A record as the API gives it. */
export function record(compositeKey, complete, fields, metadata = null) {
  const [count, cost, decisionCount, externalAiApiCount, cachedAiApiCount, errorCount] = fields;
  const shown = { count, cost, decisionCount, externalAiApiCount, cachedAiApiCount, errorCount };
  const scope = compositeKey.split("#").slice(1, -2).join("#") || null;
  return { compositeKey, complete, metadata, ...shown, scorecardId: null, scoreId: scope };
}
