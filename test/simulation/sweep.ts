import type { Operation, SabotagePlan } from './sabotage.js';
import type { RunReport } from './script.js';

/** Fails the first operation of a kind, the second, the third…, each once alone and once with all that follow, until the script has no more of them. */
export async function* sweep(
  operation: Operation, run: (plan: SabotagePlan) => Promise<RunReport>,
): AsyncGenerator<{ readonly name: string; readonly report: RunReport }> {
  for (let number = 1; ; number += 1) {
    const [passing, lasting] = [run({ operation, number, isLasting: false }), run({ operation, number, isLasting: true })];
    const report = await passing;
    const isReached = report.hasStruck;
    yield { name: `${operation} ${number} fails${isReached ? '' : ', which the script does not reach'}`, report };
    const last = await lasting;
    if (!isReached) return;
    yield { name: `${operation} ${number} and all later ones fail`, report: last };
  }
}
