/**
 * Calls `end` when the process that started this one is gone: its end of the pipe on our stdin goes with it.
 * @returns what ends the watch
 */
export function watchParent(end: () => void): () => void {
  process.stdin.on('end', end).on('error', end).resume();
  return () => void process.stdin.off('end', end).off('error', end).pause();
}
