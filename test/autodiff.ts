// Reverse-mode differentiation of scalars, one node at a time: slow, and too simple to be wrong in the way that a hand-written gradient is.

/** A number that remembers what it was made from. */
export class Scalar {
  slope = 0;

  constructor(readonly value: number, private readonly parents: readonly (readonly [Scalar, number])[] = []) {}

  plus(other: Scalar): Scalar {
    return new Scalar(this.value + other.value, [[this, 1], [other, 1]]);
  }

  times(other: Scalar): Scalar {
    return new Scalar(this.value * other.value, [[this, other.value], [other, this.value]]);
  }

  scaled(factor: number): Scalar {
    return new Scalar(this.value * factor, [[this, factor]]);
  }

  /** A function of this number with its slope there. */
  through(value: number, slope: number): Scalar {
    return new Scalar(value, [[this, slope]]);
  }

  /** Adds ∂(this)/∂(node) to the slope of every node that this number depends on. */
  differentiate(): void {
    const order: Scalar[] = [];
    const seen = new Set<Scalar>();
    const visit = (node: Scalar): void => {
      if (seen.has(node)) return;
      seen.add(node);
      for (const [parent] of node.parents) visit(parent);
      order.push(node);
    };
    visit(this);
    this.slope += 1;
    for (const node of order.reverse()) for (const [parent, slope] of node.parents) parent.slope += slope * node.slope;
  }
}

/** A sum of many, as one node. */
export function sumOf(terms: readonly (readonly [Scalar, number])[]): Scalar {
  return new Scalar(terms.reduce((sum, [term, factor]) => sum + term.value * factor, 0), terms);
}
