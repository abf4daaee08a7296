import type Database from 'better-sqlite3';
import { createEdge, tileWidth } from '../merkle/edge.ts';
import { type Hash, leafOfHash } from '../merkle/hashing.ts';
import { treeRows } from './sqliteTree.ts';

/** Holds the events of a store, as they are walked through, against the tree over all of them and against a checkpoint: what was written anew with
 *  fresh hashes, or stands in another order, has other leaves. */

/** What a checkpoint says of the log. */
export type SignedTree = { readonly size: number; readonly root: Hash };

/** tree: the event at this position is not the one in the tree · checkpoint: the events up to this position are not those of the checkpoint */
export type TreeFinding = { readonly position: number; readonly reason: 'tree' | 'checkpoint' };

export type TreeCheck = {
  /** Takes the next event. @returns the first one that does not hold, once */
  add(hash: Hash): TreeFinding | undefined;
  /** The same for events behind the last complete tile, when the walk ends early. */
  end(): TreeFinding | undefined;
};

/** @param db open for reading; a store from before there was a tree is held against the checkpoint only */
export function createTreeCheck(db: Database, signed: SignedTree | undefined): TreeCheck {
  const hasTree = db.prepare(`SELECT 1 FROM sqlite_master WHERE name = 'tiles'`).get() !== undefined;
  const { tile } = hasTree ? treeRows(db) : { tile: () => undefined };
  const edge = createEdge();
  const firstDifference = (number: number, hashes: readonly Hash[]): TreeFinding | undefined => {
    const stored = hasTree ? (tile(0, number) ?? []) : hashes;
    const index = hashes.findIndex((hash, i) => hash !== stored[i]);
    return index === -1 ? undefined : { position: number * tileWidth + index + 1, reason: 'tree' };
  };
  return {
    add(hash) {
      const [lowest] = edge.add(leafOfHash(hash));
      const different = lowest && firstDifference(lowest.number, lowest.hashes);
      if (different !== undefined) return different;
      const isSigned = edge.size() === signed?.size;
      return isSigned && edge.root() !== signed.root ? { position: edge.size(), reason: 'checkpoint' } : undefined;
    },
    end() {
      const number = Math.floor(edge.size() / tileWidth);
      // The tile is there only when the store goes on beyond the place where the walk ended.
      return hasTree && tile(0, number) !== undefined ? firstDifference(number, edge.partial()[0] ?? []) : undefined;
    },
  };
}
