/** A board that does not do what the specification says: what should have come, and what came. */
export class Deviation extends Error {
  override readonly name = 'Deviation';

  constructor(readonly expected: string, readonly came: string) {
    super(`expected ${expected}; came ${came}`);
  }
}

/** Why an item could not be tried on this board, or was not allowed to be. */
export class NotRun extends Error {
  override readonly name = 'NotRun';
}

/** @throws Deviation where `holds` is false */
export function expect(holds: boolean, expected: string, came: string): asserts holds {
  if (!holds) throw new Deviation(expected, came);
}

/** @throws Deviation where two values differ; numbers and texts are compared by value, everything else by its JSON */
export function expectEqual(what: string, came: unknown, expected: unknown): void {
  const [left, right] = [textOf(came), textOf(expected)];
  expect(left === right, `${what} ${right}`, left);
}

function textOf(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return String(value);
}
