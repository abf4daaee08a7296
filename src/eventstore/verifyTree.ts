import type Database from 'better-sqlite3';
import { createEdge, tileWidth } from '../merkle/edge.ts';
import { type Hash, leafOfHash } from '../merkle/hashing.ts';
import { treeRows } from './sqliteTree.ts';

/** Holds the events of a store, as they are walked through, against the tree over all of them and against a checkpoint: what was rewritten with
 *  fresh hashes, or is in another order, has other leaves. */

/** What a checkpoint says of the log. */
export type SignedTree = { readonly size: number; readonly root: Hash };

/** tree: the event at this position is not the one in the tree · checkpoint: the events up to this position are not those of the checkpoint
 *  @property from the first event that may be meant: up to the one before it another checkpoint holds */
export type TreeFinding = { readonly position: number; readonly reason: 'tree' | 'checkpoint'; readonly from?: number };

export type TreeCheck = {
  /** Takes the next event. @returns the first one that does not hold, once */
  add(hash: Hash): TreeFinding | undefined;
  /** The same for events behind the last complete tile, when the walk ends early. */
  end(): TreeFinding | undefined;
};

/** @param db open for reading; a store from before there was a tree is held against checkpoints only */
export function createTreeCheck(db: Database, signed: readonly SignedTree[]): TreeCheck {
  const hasTree = db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'tiles'`).get() !== undefined;
  const { tile } = hasTree ? treeRows(db) : { tile: () => undefined };
  const edge = createEdge();
  const bySize = Map.groupBy(signed, ({ size }) => size);
  let holdsUpTo = 0;
  const firstDifference = (number: number, hashes: readonly Hash[]): TreeFinding | undefined => {
    const stored = hasTree ? (tile(0, number) ?? []) : hashes;
    const index = hashes.findIndex((hash, i) => hash !== stored[i]);
    return index === -1 ? undefined : { position: number * tileWidth + index + 1, reason: 'tree' };
  };
  const inLastTile = (): TreeFinding | undefined => {
    const number = Math.floor(edge.size() / tileWidth);
    // The tile is there only when the store continues beyond the current place of the walk.
    return hasTree && tile(0, number) !== undefined ? firstDifference(number, edge.partial()[0] ?? []) : undefined;
  };
  return {
    add(hash) {
      const [lowest] = edge.add(leafOfHash(hash));
      const different = lowest && firstDifference(lowest.number, lowest.hashes);
      if (different !== undefined) return different;
      const checkpoints = bySize.get(edge.size());
      if (checkpoints === undefined) return undefined;
      const root = edge.root();
      if (checkpoints.some(checkpoint => checkpoint.root !== root))
        return inLastTile() ?? { position: edge.size(), reason: 'checkpoint', from: holdsUpTo + 1 };
      holdsUpTo = edge.size();
      return undefined;
    },
    end: inLastTile,
  };
}
