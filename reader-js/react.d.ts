import type { Point, Query, TimelineOptions } from "./index.js";

/** Points of a rolling chart; after an error the last good points stay beside it. */
export declare function useTimeline(
  query: Query,
  optionsAt: (now: number) => TimelineOptions,
  settings?: { every?: number },
): { points: Point[]; error: unknown; loading: boolean };
