/** The only source of chance where reproducibility counts: session numbers, request ids, jitter, simulated faults. */
export interface Prng {
  /** A uniform integer in [0, 2^32). */
  nextUint32(): number;
}
