import { useEffect, useRef, useState } from "react";
import { timeline } from "./index.js";

/** A timeline that is read again every minute; index.d.ts and docs/reading-javascript.md. */
export function useTimeline(query, optionsAt, { every = 60_000 } = {}) {
  const [state, setState] = useState({ points: [], error: null, loading: true });
  const latest = useRef();
  latest.current = { query, optionsAt };
  const what = JSON.stringify(optionsAt(0)); // read at once when something else is asked
  useEffect(() => {
    let isOver = false;
    let timer;
    async function poll() {
      const asked = latest.current;
      try {
        const points = await timeline(asked.query, asked.optionsAt(Date.now()));
        if (!isOver) setState({ points, error: null, loading: false });
      } catch (error) {
        if (!isOver) setState((before) => ({ ...before, error, loading: false }));
      }
      if (!isOver) timer = setTimeout(poll, every);
    }
    setState((before) => ({ ...before, loading: true }));
    poll();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [what, every]);
  return state;
}
