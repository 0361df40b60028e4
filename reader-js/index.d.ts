/** Sends a document with the application's own authorization: client.graphql, Apollo, fetch. */
export type Query = (query: string, variables: Record<string, unknown>) => Promise<unknown>;
export type Moment = Date | number;
export type Step = { minutes: number } | { days: number } | "week" | "month";

export interface Limits {
  /** The most bytes of a request's body, 8000 behind AWS WAF's common rules; default none. */
  maxRequestBytes?: number;
  /** The most resolvers of a request; default 200. */
  maxResolvers?: number;
  /** The time now in milliseconds; a test passes its own. */
  now?: number;
}

export interface SummarizeOptions extends Limits {
  accountId: string;
  /** Such as "items"; a breakdown ("scoreResultsByScore") needs its id. */
  recordType: string;
  scorecardId?: string | null;
  scoreId?: string | null;
  /** The minutes that begin in [start, end) are counted. */
  start: Moment;
  end: Moment;
  /** A custom model's extra measures, where the caller may not read the record of as of. */
  measures?: string[];
}

export interface TimelineOptions extends SummarizeOptions {
  step: Step;
  /** An IANA name; default "UTC". Days, weeks and months are this zone's calendar. */
  timeZone?: string;
  /** Default "monday". */
  weekStart?: "monday" | "sunday";
}

export interface Point {
  start: Date;
  end: Date;
  count: number;
  /** Millionths of a dollar. */
  cost: number;
  decisionCount: number;
  externalAiApiCount: number;
  cachedAiApiCount: number;
  errorCount: number;
  /** Whether nothing more is expected: the range lies before asOf, and no bucket is open. */
  complete: boolean;
  /** The time up to which the record type's stream is applied; null: not known. */
  asOf: Date | null;
  /** Of feedbackItems and its breakdowns. */
  changedCount?: number;
  unchangedCount?: number;
  invalidCount?: number;
  /** The extra measures of a custom model. */
  [measure: string]: number | Date | boolean | null | undefined;
}

export interface Breakdown {
  recordType: string;
  scorecardId: string | null;
  scoreId: string | null;
}

/** The fewest buckets that tile [start, end), in order. */
export declare function cover(start: Moment, end: Moment): { start: Date; minutes: number }[];
/** The exact sums of a range. */
export declare function summarize(query: Query, options: SummarizeOptions): Promise<Point>;
/** Points that tile a range, in order; zero where nothing was counted. */
export declare function timeline(query: Query, options: TimelineOptions): Promise<Point[]>;
/** Every range that ends by then is complete; null: not known. */
export declare function completeUntil(
  query: Query,
  options: { accountId: string; recordTypes?: string[] } & Limits,
): Promise<Date | null>;
/** The scorecards or scores that a breakdown has counts of, by key. */
export declare function breakdowns(
  query: Query,
  options: { accountId: string; recordType: string; most?: number },
): Promise<Breakdown[]>;
