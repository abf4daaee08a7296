import type { Result, Router } from 'hono/router';
import { TrieRouter } from 'hono/router/trie-router';
import { lru } from '../lru.ts';

/** Hono's router, which walks through its tree for every request, with what it found for the paths that are asked for most. */

const maxPaths = 1000;
/** A longer path is looked up each time. */
const maxPathLength = 200;

export function rememberingRouter<Handler>(): Router<Handler> {
  const routes = new TrieRouter<Handler>();
  const known = lru<Result<Handler>>(maxPaths);
  return {
    name: 'RememberingRouter',
    add(method, path, handler) {
      known.clear();
      routes.add(method, path, handler);
    },
    match(method, path) {
      if (path.length > maxPathLength) return routes.match(method, path);
      const key = `${method} ${path}`;
      const before = known.get(key);
      if (before !== undefined) return before;
      const found = routes.match(method, path);
      known.set(key, found);
      return found;
    },
  };
}
