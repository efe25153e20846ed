import { type Bundle, bundleFromFiles, filesOfBundle } from '../../server/network/bundle.js';
import { placeNetwork } from '../../server/network/placement.js';
import { fingerprintOf, snapshotDigest } from '../../server/network/snapshot.js';
import type { Chip } from '../../sim/chip.js';
import { smallBundle } from '../small-bundle.js';

const geometry = { bitLines: 512, sourceLines: 512 };

/** The small network on the cells that a chip happens to have. @param prunes what the mask prunes more, by the number of the weight */
export function madeOn({ chipId, codes }: Chip, prunes: (weight: number) => boolean = () => false): Bundle {
  const { network, layers } = smallBundle();
  const chip = {
    format: 'prime-chip/1' as const, chipId, fingerprint: fingerprintOf(codes, geometry), snapshotDigest: snapshotDigest(codes),
    weightScale: network.weightScale, placements: placeNetwork(network, { geometry }),
  };
  const masked = layers.map(({ name, mask }) => ({ name, mask: mask.map((kept, weight) => (prunes(weight) ? 0 : kept)) }));
  return bundleFromFiles(filesOfBundle({ network, layers: masked, chip }));
}
