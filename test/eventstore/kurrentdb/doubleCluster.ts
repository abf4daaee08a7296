import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { type Double, type DoubleOptions, startDouble } from './double.ts';
import { streamTable } from './doubleStreams.ts';

/** A cluster of three doubles on loopback: gossip, a leader, and nodes that send whoever needs the leader there. What one has stored all have, as a real
 *  cluster has what a quorum has acknowledged. */

const require = createRequire(import.meta.url);
const folder = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1';
const gossip = require(
  `${folder}/gossip_pb.js`,
) as typeof import('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/gossip_pb.js');
const shared = require(
  `${folder}/shared_pb.js`,
) as typeof import('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js');
const { GossipService } = require(`${folder}/gossip_grpc_pb.js`);

const nodes = 3;
/** Nobody leads for so long after the leader is gone. */
const electionMs = 500;
const { FOLLOWER, LEADER, SHUTDOWN, UNKNOWN } = gossip.MemberInfo.VNodeState;

export type DoubleCluster = {
  /** `kurrentdb://A,B,C?tls=false`; with TLS `kurrentdb://A,B,C` */
  readonly url: string;
  /** Its connections break, and another node leads half a second later. @returns its number */
  loseLeader(): Promise<number>;
  close(): Promise<void>;
};

export async function startDoubleCluster(options: Pick<DoubleOptions, 'tls' | 'login'> = {}): Promise<DoubleCluster> {
  const table = streamTable();
  const members: { readonly id: string; readonly double: Double; port: number; isAlive: boolean }[] = [];
  let leader: number | undefined = 0;
  const stateOf = (n: number) =>
    members[n]?.isAlive === false ? SHUTDOWN : leader === undefined ? UNKNOWN : n === leader ? LEADER : FOLLOWER;
  const read = (_: unknown, answer: (error: null, info: unknown) => void): void => {
    const known = members.map(({ id, port, isAlive }, n) =>
      new gossip.MemberInfo()
        .setInstanceId(new shared.UUID().setString(id))
        .setTimeStamp(`${Date.now()}0000`)
        .setState(stateOf(n))
        .setIsAlive(isAlive)
        .setHttpEndPoint(new gossip.EndPoint().setAddress('127.0.0.1').setPort(port)),
    );
    answer(null, new gossip.ClusterInfo().setMembersList(known));
  };
  for (let n = 0; n < nodes; n += 1) {
    const elsewhere = (): number | undefined => (leader === n ? undefined : leader === undefined ? 0 : members[leader]?.port);
    const double = await startDouble({
      ...options,
      node: { table, services: [{ definition: GossipService, functions: { read } }], elsewhere },
    });
    members.push({ id: randomUUID(), double, port: Number(/:(\d+)(\?|$)/.exec(double.url)?.[1]), isAlive: true });
  }
  return {
    url: `kurrentdb://${members.map(({ port }) => `127.0.0.1:${port}`).join(',')}${options.tls === undefined ? '?tls=false' : ''}`,
    async loseLeader() {
      const lost = leader as number;
      const member = members[lost] as (typeof members)[number];
      leader = undefined;
      member.isAlive = false;
      await member.double.down();
      setTimeout(() => {
        leader = members.findIndex(({ isAlive }) => isAlive);
      }, electionMs);
      return lost;
    },
    async close() {
      await Promise.all(members.map(({ double }) => double.close()));
    },
  };
}
